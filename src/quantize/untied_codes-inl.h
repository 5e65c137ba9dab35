// e4m3 codes of 16-bit elements of units where no product or quotient comes near the middle between two
// codes, as is nearly always so: elements have few mantissas, and eight middles. Then a product is as good as
// a quotient, and half may be rounded up. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_UNTIED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_UNTIED_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_UNTIED_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_UNTIED_CODES_INL_H_
#endif

#include "quantize/e4m3_codes-inl.h"
#include "quantize/encode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Whether products of the dtype's elements with `factor` keep 2^-20 away from the middles, relative to the
// power of two below: more than a product with a reciprocal is from the quotient.
template <class S>
HWY_INLINE bool keeps_off_ties(float factor) {
  if (!(factor >= 0x1p-80f && factor <= 0x1p80f)) return false;
  constexpr uint32_t kStep = 1u << (23 - S::kMantissaBits);
  const FloatTag d;
  const WordTag words;
  const auto multiplier = hn::Set(d, factor);
  bool all = true;
  for (int64_t i = 0; i < 8; i += kLanes) {
    const auto middle =
        hn::MulAdd(hn::Iota(d, static_cast<float>(i)), hn::Set(d, 0.125f), hn::Set(d, 1.0625f));
    const auto element = hn::BitCast(words, hn::Div(middle, multiplier));
    const auto nearest = hn::And(hn::Add(element, hn::Set(words, kStep / 2)), hn::Set(words, ~(kStep - 1)));
    const auto product = hn::Mul(hn::BitCast(d, nearest), multiplier);
    const auto distance = hn::Abs(hn::Sub(product, middle));
    all &= hn::AllTrue(d, hn::Or(hn::Gt(distance, hn::Set(d, 0x1p-20f)), hn::Ge(middle, hn::Set(d, 2.0f))));
  }
  return all;
}

template <class S>
class UntiedCodes {
 public:
  using Bits = typename S::Bits;
  static constexpr int64_t kStep = 4 * kLanes;

  explicit HWY_INLINE UntiedCodes(float multiplier) : multiplier_(hn::Set(FloatTag(), multiplier)) {}

  // kStep codes. False, and nothing is stored, where one of them is not from 2^-6 to 448.
  HWY_INLINE bool store(const Bits* from, uint8_t* to, bool stream) const {
    auto halves = E4M3Halves::of(product(from), product(from + kLanes), product(from + 2 * kLanes),
                                 product(from + 3 * kLanes));
    const auto half = hn::Set(HalfTag(), 8);
    halves.even = hn::Add(halves.even, half);
    halves.odd = hn::Add(halves.odd, half);
    if (HWY_UNLIKELY(!halves.all_normal())) return false;
    store_bytes(halves.codes(), ByteTag(), to, stream);
    return true;
  }

 private:
  HWY_INLINE WordVector product(const Bits* from) const {
    return hn::BitCast(WordTag(), hn::Mul(S::load(from), multiplier_));
  }

  const FloatVector multiplier_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
