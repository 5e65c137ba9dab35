// Division of many numbers by one.
#pragma once

#include <cstdint>

namespace liveweight {

// Exact for every dividend of 32 bits and every divisor from 1 to 2^32 - 1: one multiplication instead of a
// division. With 2^64 - 1 = factor * d + r, (n + 1) * factor / 2^64 lies below (n + 1) / d, and not below
// floor(n / d) while (n + 1) * d <= 2^64.
class Divisor {
 public:
  explicit Divisor(uint32_t divisor) : factor_(~uint64_t{0} / divisor) {}
  uint32_t divide(uint32_t dividend) const {
    return static_cast<uint32_t>((Wide{factor_} * (uint64_t{dividend} + 1)) >> 64);
  }
  // For whoever divides many at once: the quotient is (n + 1) * factor / 2^64.
  uint64_t factor() const { return factor_; }

 private:
  __extension__ using Wide = unsigned __int128;
  uint64_t factor_;
};

}  // namespace liveweight
