// Symmetric int4 codes of groups of 16-bit elements, 32 bits a pair of them: the even element is shifted up
// and the odd one masked, so that both are floats where they lie, and their codes meet in the low byte.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#endif

#include "quantize/encode-inl.h"
#include "quantize/extremes-inl.h"
#include "quantize/unit_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Elements in the upper halves of 32-bit lanes, to fp32.
template <class S>
struct UpperHalves;

template <>
struct UpperHalves<BF16Source> {
  static constexpr float kLeastScale = 0;
  static HWY_INLINE FloatVector widened(WordVector bits) { return hn::BitCast(FloatTag(), bits); }
};

// Numbers below 2^-14 come out too large, but below 2^-14 as well: code 0 where scales are this large.
template <>
struct UpperHalves<F16Source> {
  static constexpr float kLeastScale = 0x1p-12f;
  static HWY_INLINE FloatVector widened(WordVector bits) {
    const auto shifted = hn::BitCast(WordTag(), hn::ShiftRight<3>(hn::BitCast(IntTag(), bits)));
    const auto placed = hn::And(shifted, hn::Set(WordTag(), 0x8fffe000u));
    return hn::BitCast(FloatTag(), hn::Add(placed, hn::Set(WordTag(), 112u << 23)));
  }
};

// Encoding::kDivideRounded without zero points: the quotient is rounded to the source's dtype, then to an
// integer, both times to nearest even.
template <class S>
class GroupCodes {
 public:
  using Bits = typename S::Bits;
  static constexpr int64_t kStep = 2 * kLanes;

  static HWY_INLINE bool suits(const UnitBatch& batch, int64_t groups) {
    if (UpperHalves<S>::kLeastScale == 0) return true;
    const FloatTag d;
    auto least = hn::Set(d, UpperHalves<S>::kLeastScale);
    for (int64_t i = 0; i < groups; i += kLanes) {
      const auto used = hn::FirstN(d, static_cast<size_t>(groups - i));
      least = hn::Min(least, hn::IfThenElse(used, hn::Load(d, batch.scale + i), least));
    }
    return hn::AllTrue(d, hn::Eq(least, hn::Set(d, UpperHalves<S>::kLeastScale)));
  }

  // Of up to kBatch units.
  HWY_INLINE GroupCodes(const UnitBatch& batch, int64_t groups) : batch_(batch) {
    for (int64_t i = 0; i < groups; i += kLanes) {
      const FloatVector seven = hn::Mul(hn::Load(FloatTag(), batch.scale + i), hn::Set(FloatTag(), 7.0f));
      const auto bits = hn::BitCast(WordTag(), S::bits_of(S::rounded(seven)));
      hn::Store(hn::Or(bits, hn::ShiftLeft<16>(bits)), WordTag(), seven_ + i);
    }
  }

  // All elements, `size` a group. Four vectors of codes leave together, past the caches where `stream` says
  // so: one that is loaded from several stores would wait until all stores before it have left.
  HWY_INLINE void encode(const Bits* from, int64_t groups, int64_t size, uint8_t* to, bool stream,
                         int64_t ahead) const {
    const int64_t steps = size / kStep, all = groups * steps;
    int64_t group = 0, left = steps, step = 0;
    const auto next = [&]() HWY_ATTR {
      __builtin_prefetch(reinterpret_cast<const char*>(from) + ahead, 0, 3);
      const auto codes = pairs(from, group);
      from += kStep;
      if (--left == 0) ++group, left = steps;
      return codes;
    };
    for (; step + 4 <= all; step += 4, to += 4 * kLanes) {
      const auto a = next(), b = next(), c = next(), d = next();
      store_bytes(low_bytes(a, b, c, d), ByteTag(), to, stream);
    }
    for (; step < all; ++step, to += kLanes) {
      hn::StoreU(low_bytes(WordTag(), next()), hn::Rebind<uint8_t, WordTag>(), to);
    }
  }

 private:
  using Tag = BitsTag<S>;
  static constexpr int kBelow = 23 - S::kMantissaBits;  // bits of fp32 that the dtype lacks

  // Two codes plus 8 in the low byte of each lane.
  HWY_INLINE WordVector pairs(const Bits* from, int64_t group) const {
    const WordTag d;
    // Codes end at 7, and what is nearer to 8 is not needed.
    const auto most = hn::BitCast(Tag(), hn::Set(d, seven_[group]));
    const auto bits = hn::BitCast(d, hn::Min(hn::LoadU(Tag(), from), most));
    const auto even = code(hn::ShiftLeft<16>(bits), group);
    const auto odd = code(hn::And(bits, hn::Set(d, 0xffff0000u)), group);
    return hn::Or(even, hn::ShiftLeft<4>(odd));
  }

  // Half up is to nearest even: no quotient of two such numbers lies half-way between two. One correction
  // (encode-inl.h) is enough for eleven bits, none for eight.
  HWY_INLINE WordVector code(WordVector element, int64_t group) const {
    const WordTag d;
    const FloatVector x = UpperHalves<S>::widened(element);
    const FloatVector scale = hn::Set(FloatTag(), batch_.factor[group]);
    const FloatVector reciprocal = hn::Set(FloatTag(), batch_.reciprocal[group]);
    const FloatVector q = quotient < S::kMantissaBits == 7 ? 0 : 1 > (x, scale, reciprocal);
    const auto sum = hn::Add(hn::BitCast(d, q), hn::Set(d, 1u << (kBelow - 1)));
    const auto rounded = hn::And(sum, hn::Set(d, ~uint32_t{0} << kBelow));
    return hn::BitCast(d, hn::Add(hn::BitCast(FloatTag(), rounded), hn::Set(FloatTag(), 0x1.8p23f + 8)));
  }

  const UnitBatch& batch_;
  HWY_ALIGN uint32_t seven_[kBatch];  // seven times the scale, twice
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
