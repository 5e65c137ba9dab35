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

// What is multiplied with is this much less than the unit's factor, which is more than a product and a
// quotient differ: all that is rounded down from a middle comes out below it.
inline constexpr float kBelowTies = 1 - 0x1p-21f;

// Whether numbers of code space that are 2^-19 or less from a middle, relative to the power of two below, are
// those that kBelowTies takes care of. 448 is a multiple of 7, and so 3/4 of the largest element is in the
// middle between 320 and 352 if it is a number of the dtype: one unit in three has that. One in fifty has
// others.
template <class S, class ToCodeSpace>
HWY_INLINE bool keeps_off_ties(const ToCodeSpace& to_code_space, float multiplier) {
  constexpr uint32_t kStep = 1u << (23 - S::kMantissaBits);
  const FloatTag d;
  const WordTag words;
  if (!(multiplier >= 0x1p-80f && multiplier <= 0x1p80f)) return false;
  bool all = true;
  for (uint32_t i = 0; i < 8; i += kLanes) {
    const auto index = hn::Iota(words, i);
    const auto middle =
        hn::MulAdd(hn::ConvertTo(d, hn::BitCast(IntTag(), index)), hn::Set(d, 0.125f), hn::Set(d, 1.0625f));
    const auto element = hn::BitCast(words, hn::Div(middle, hn::Set(d, multiplier)));
    const auto nearest = hn::And(hn::Add(element, hn::Set(words, kStep / 2)), hn::Set(words, ~(kStep - 1)));
    const auto above = hn::Sub(to_code_space(hn::BitCast(d, nearest)), middle);
    const auto far = hn::Gt(hn::Abs(above), hn::Set(d, 0x1p-19f));
    const auto even = hn::Eq(hn::And(index, hn::Set(words, 1)), hn::Zero(words));
    const auto down = hn::And(hn::RebindMask(d, even), hn::Le(above, hn::Zero(d)));
    const auto beyond = hn::Ge(middle, hn::Set(d, 2.0f));
    all &= hn::AllTrue(d, hn::Or(hn::Or(far, down), beyond));
  }
  return all;
}

template <class S>
class UntiedCodes {
 public:
  using Bits = typename S::Bits;
  static constexpr int64_t kStep = 4 * kLanes;

  explicit HWY_INLINE UntiedCodes(float multiplier)
      : multiplier_(hn::Set(FloatTag(), multiplier * kBelowTies)) {}

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
