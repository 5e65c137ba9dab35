// Division of many numbers by one.
#pragma once

#include <bit>
#include <cstdint>

namespace liveweight {

// Exact for every dividend of 32 bits and every divisor from 1 to 2^32 - 1: one multiplication of 32 bits
// instead of a division. With 2^s <= d < 2^(s+1) the quotient is n * m / 2^(32+s) for m = 2^(32+s) / d
// rounded up, where that is by less than 2^s / d; else it is (n + 1) * m / 2^(32+s) for m rounded down.
class Divisor {
 public:
  explicit Divisor(uint32_t divisor) : shift_(63 - std::countl_zero(divisor)) {
    if (std::has_single_bit(divisor)) return;
    const uint64_t power = uint64_t{1} << shift_, rounded_up = power / divisor + 1;
    const bool up = rounded_up * divisor - power < power >> 32;
    factor_ = up ? rounded_up : rounded_up - 1;
    addend_ = up ? 0 : factor_;
  }
  uint32_t divide(uint32_t dividend) const {
    return static_cast<uint32_t>((dividend * factor_ + addend_) >> shift_);
  }
  // For whoever divides many at once: the quotient is (n * factor + addend) / 2^shift, whose sum fits.
  uint64_t factor() const { return factor_; }  // below 2^32
  uint64_t addend() const { return addend_; }
  int shift() const { return shift_; }

 private:
  int shift_;
  uint64_t factor_ = ~uint64_t{0} >> 32, addend_ = factor_;  // of a power of two
};

}  // namespace liveweight
