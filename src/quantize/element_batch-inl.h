// encode_elements with an element a lane. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_ELEMENT_BATCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ELEMENT_BATCH_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ELEMENT_BATCH_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ELEMENT_BATCH_INL_H_
#endif

#include "quantize/e4m3_codes-inl.h"
#include "quantize/element_batch.h"
#include "quantize/encode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S, class Codes, Encoding kEncoding>
class BatchEncoder {
 public:
  explicit BatchEncoder(const ElementRule& rule)
      : rule_(rule), codes_(Factors{0, 0, 0, rule.rule.lowest, rule.rule.highest}) {}

  void run(ElementBatch& batch, int64_t count) const {
    const FloatTag d;
    const auto* elements = reinterpret_cast<const typename S::Bits*>(batch.elements);
    const auto near = set(rule_.rule.divisor * ElementRule::kNearLargest);
    batch.large = batch.unclear = batch.like_zeros = 0;
    batch.decided = decided_of(batch.old_code);
    for (int64_t i = 0; i < count; i += kLanes) {
      const auto scale = hn::Load(d, batch.scale + i), x = S::load(elements + i);
      auto clear = hn::And(hn::And(hn::Ge(scale, set(rule_.lowest_scale)), hn::Le(scale, set(0x1p100f))),
                           hn::Ne(scale, set(rule_.unclear_scale)));
      const auto factor = factor_of(scale, clear);
      const auto small = hn::Lt(hn::Abs(x), hn::Mul(scale, near));
      hn::StoreU(
          low_bytes(WordTag(), codes_(to_code_space<S, kEncoding, false>(x, LaneFactor{factor}, set(0)))),
          hn::Rebind<uint8_t, WordTag>(), batch.code + i);
      batch.large |= bits_of_mask(hn::Not(small)) << i;
      batch.unclear |= bits_of_mask(hn::Not(clear)) << i;
      batch.like_zeros |= bits_of_mask(hn::Eq(scale, set(rule_.scale_like_zeros))) << i;
    }
    const uint64_t used = count == kElementBatch ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    batch.large &= used;
    batch.unclear &= used;
    batch.like_zeros &= used;
    batch.decided &= used;
  }

 private:
  using Mask = hn::Mask<FloatTag>;
  static FloatVector set(float x) { return hn::Set(FloatTag(), x); }

  static uint64_t bits_of_mask(Mask mask) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(FloatTag(), mask, bytes);
    uint64_t bits = 0;
    std::memcpy(&bits, bytes, sizeof bits);
    return bits;
  }

  // may_decide of every code.
  uint64_t decided_of(const uint8_t* codes) const {
    const hn::CappedTag<int8_t, kElementBatch> d;
    uint64_t bits = 0;
    for (int64_t i = 0; i < kElementBatch; i += static_cast<int64_t>(hn::Lanes(d))) {
      const auto code = hn::LoadU(d, reinterpret_cast<const int8_t*>(codes) + i);
      auto value = hn::And(code, hn::Set(d, 0x7f));
      int8_t below = 0x7d;
      if (rule_.element != Element::kE4M3) {
        const bool nibbles = rule_.element == Element::kInt4;
        value = nibbles ? hn::Sub(hn::And(code, hn::Set(d, 0x0f)), hn::Set(d, 8)) : code;
        value = hn::Max(value, hn::SaturatedSub(hn::Zero(d), value));  // -128 has no negative
        below = static_cast<int8_t>(rule_.deciding_code - 1);
      }
      uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, hn::Gt(value, hn::Set(d, below)), bytes);
      uint64_t part = 0;
      std::memcpy(&part, bytes, sizeof part);
      bits |= part << i;
    }
    return bits;
  }

  FloatVector factor_of(FloatVector scale, Mask& clear) const {
    if (kEncoding == Encoding::kMultiply) return hn::Div(set(1), scale);
    if (kEncoding == Encoding::kMultiplyRounded) return S::rounded(hn::Div(set(1), scale));
    if (kEncoding != Encoding::kMultiplyFactor) return scale;
    const FloatVector divisor = set(rule_.rule.divisor), largest = S::rounded(hn::Mul(scale, divisor));
    const FloatVector factor = rule_.rule.form == ScaleForm::kCOverAmax
                                   ? hn::Div(divisor, largest)
                                   : hn::Mul(hn::Div(set(1), largest), divisor);
    clear = hn::And(clear, hn::Eq(hn::Div(set(1), factor), scale));
    return factor;
  }

  const ElementRule& rule_;
  const Codes codes_;
};

template <class S, class Codes>
void encode_elements_as(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  switch (rule.rule.encoding) {
    case Encoding::kDivide:
      return BatchEncoder<S, Codes, Encoding::kDivide>(rule).run(batch, count);
    case Encoding::kMultiply:
      return BatchEncoder<S, Codes, Encoding::kMultiply>(rule).run(batch, count);
    case Encoding::kMultiplyFactor:
      return BatchEncoder<S, Codes, Encoding::kMultiplyFactor>(rule).run(batch, count);
    case Encoding::kDivideRounded:
      return BatchEncoder<S, Codes, Encoding::kDivideRounded>(rule).run(batch, count);
    case Encoding::kMultiplyRounded:
      return BatchEncoder<S, Codes, Encoding::kMultiplyRounded>(rule).run(batch, count);
    default:
      return encode_elements_reference(rule, batch, count);
  }
}

template <class S>
void encode_elements_from(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  if (rule.element == Element::kE4M3) return encode_elements_as<S, E4M3Codes>(rule, batch, count);
  if (rule.element == Element::kInt8) return encode_elements_as<S, Int8Codes>(rule, batch, count);
  return encode_elements_as<S, Int4Codes<8>>(rule, batch, count);
}

void encode_elements_on(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  if (rule.source == DType::kBF16) return encode_elements_from<BF16Source>(rule, batch, count);
  if (rule.source == DType::kF16) return encode_elements_from<F16Source>(rule, batch, count);
  return encode_elements_from<F32Source>(rule, batch, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
