// Symmetric int4 codes of 16-bit elements by comparing: a code's magnitude is the number of thresholds that
// the element's magnitude reaches, eight of them a group. A division and its rounding for every element
// become one product for every threshold. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_GROUP_THRESHOLDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_GROUP_THRESHOLDS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_GROUP_THRESHOLDS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_GROUP_THRESHOLDS_INL_H_
#endif

#include "quantize/encode-inl.h"
#include "quantize/extremes-inl.h"
#include "quantize/unit_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Encoding::kDivideRounded without zero points: the quotient is rounded to the source's dtype, then to an
// integer, both times to nearest even. A code is at least k where the rounded quotient is at least k - 0.5
// for even k, and above it for odd k. So the quotient is at least (k - 0.5) less half a step of the dtype
// there, or above (k - 0.5) plus half a step: `ratio(k)`. Its product with a scale is exact in fp32, and no
// quotient of two 16-bit numbers comes close enough to it for fp32's own rounding to matter.
template <class S>
class GroupThresholds {
 public:
  using Bits = typename S::Bits;
  static constexpr int64_t kStep = hn::MaxLanes(BitsTag<S>());

  // Of `groups` units, up to kBatch. Codes go from -8 to 7.
  HWY_INLINE GroupThresholds(const float* scale, int64_t groups) {
    for (int64_t i = 0; i < groups; i += kLanes) {
      const FloatVector scales = hn::LoadU(FloatTag(), scale + i);
      for (int k = 1; k <= kMost; ++k) store(largest_without(scales, k), below_[k - 1] + i);
    }
  }

  // kStep elements of that group.
  HWY_INLINE void encode(const Bits* from, int64_t group, uint8_t* to) const {
    const Tag d;
    const auto bits = hn::LoadU(d, from), magnitude = hn::And(bits, hn::Set(d, kMagnitude<S>));
    auto count = hn::Zero(d);
    for (int k = 0; k + 1 < kMost; ++k) count = counted(count, magnitude, below(k, group));
    const auto negative = hn::BroadcastSignBit(bits);
    const auto last = hn::And(counted(hn::Zero(d), magnitude, below(kMost - 1, group)), negative);
    const auto signed_code = hn::Sub(hn::Xor(count, negative), negative);
    const auto code = hn::Add(hn::Sub(signed_code, last), hn::Set(d, Bits{8}));
    const auto both = hn::BitCast(PairTag(), code);
    const auto byte = hn::And(hn::Or(both, hn::ShiftRight<12>(both)), hn::Set(PairTag(), 0xffu));
    const hn::Rebind<uint8_t, PairTag> bytes;
    hn::StoreU(low_bytes(PairTag(), byte), bytes, to);
  }

 private:
  using Tag = BitsTag<S>;
  using PairTag = hn::RepartitionToWide<hn::RebindToUnsigned<Tag>>;
  static constexpr int kMost = 8;

  // In every lane. Processors fill lanes of 32 bits from memory at no cost, but not those of 16.
  HWY_INLINE hn::Vec<Tag> below(int k, int64_t group) const {
    return hn::BitCast(Tag(), hn::Set(PairTag(), below_[k][group]));
  }

  // One more where the magnitude passes the threshold.
  static HWY_INLINE hn::Vec<Tag> counted(hn::Vec<Tag> count, hn::Vec<Tag> magnitude, hn::Vec<Tag> threshold) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const __mmask32 passes = _mm512_cmpgt_epi16_mask(magnitude.raw, threshold.raw);
    return hn::Vec<Tag>{_mm512_mask_add_epi16(count.raw, passes, count.raw, _mm512_set1_epi16(1))};
#else
    return hn::Sub(count, hn::VecFromMask(Tag(), hn::Gt(magnitude, threshold)));
#endif
  }

  static constexpr float ratio(int k) {
    const float middle = static_cast<float>(k) - 0.5f;
    const float binade = middle < 1 ? 0.5f : middle < 2 ? 1.0f : middle < 4 ? 2.0f : 4.0f;
    const float half_step = binade / static_cast<float>(2 << S::kMantissaBits);
    return k % 2 == 0 ? middle - half_step : middle + half_step;
  }

  // Bits of the largest magnitude that has a code of less than k.
  static HWY_INLINE hn::Vec<IntTag> largest_without(FloatVector scales, int k) {
    const FloatVector bound = hn::Mul(scales, hn::Set(FloatTag(), ratio(k)));
    const FloatVector nearest = S::rounded(bound);
    // Never equal: a ratio, and its product with a scale, has a bit more than the dtype holds.
    const auto reaches = hn::Gt(nearest, bound);
    return hn::Add(S::bits_of(nearest), hn::BitCast(IntTag(), hn::VecFromMask(FloatTag(), reaches)));
  }

  static HWY_INLINE void store(hn::Vec<IntTag> bits, uint32_t* to) {
    const WordTag d;
    const auto word = hn::And(hn::BitCast(d, bits), hn::Set(d, 0xffffu));
    hn::StoreU(hn::Or(word, hn::ShiftLeft<16>(word)), d, to);
  }

  HWY_ALIGN uint32_t below_[kMost][kBatch];  // the threshold twice
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
