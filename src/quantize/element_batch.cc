#include "quantize/element_batch.h"

#include <cmath>

#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr float kHighestScale = 0x1p100f;

// A unit's numbers from its scale; `finite` is false where the scale does not tell them.
UnitScale numbers_of(const ElementRule& rule, float scale) {
  UnitScale unit;
  unit.finite = scale >= rule.lowest_scale && scale <= kHighestScale && scale != rule.unclear_scale;
  if (!unit.finite) return unit;
  if (rule.from_largest) {
    const float largest = round_to(rule.source, scale * rule.rule.divisor);
    unit = make_unit_scale(rule.rule, rule.source, {largest, 0, 0});
    unit.finite = unit.scale == scale;
    return unit;
  }
  unit.scale = scale;
  unit.factor = scale;
  if (rule.rule.encoding == Encoding::kMultiply) unit.factor = 1.0f / scale;
  if (rule.rule.encoding == Encoding::kMultiplyRounded) unit.factor = round_to(rule.source, 1.0f / scale);
  return unit;
}

}  // namespace

ElementRule::ElementRule(const Scheme& scheme, DType source_dtype)
    : rule(rule_for(scheme, source_dtype)), element(scheme.element), source(source_dtype) {
  const bool inverse = rule.form == ScaleForm::kCOverAmax || rule.form == ScaleForm::kReciprocalAmaxTimesC;
  // Neighbouring fp32 magnitudes can share a scale but not a factor.
  from_largest = inverse && source != DType::kF32;
  from_scale = rule.form == ScaleForm::kAmaxOverC || from_largest;
  // Below these a scale, or the largest magnitude that it tells, is no longer rounded to within a percent.
  if (source == DType::kF16 && rule.scale_in_source_dtype) lowest_scale = 0x1p-13f;
  // What is too small for a scale is far too small for an integer code. E4M3 has codes for some of it.
  const bool integer = element != Element::kE4M3;
  if (rule.zero_scale != 0) (integer ? scale_like_zeros : unclear_scale) = rule.zero_scale;
  if (inverse) unclear_scale = 1;
  constexpr float kDeciding = 0.97f;  // a little below kNearLargest, as codes are rounded
  deciding_code = static_cast<int>(std::lround(rule.divisor * kDeciding));
  floor = rule.zero_scale != 0 ? 0 : scale_of(0);
}

void encode_elements_reference(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  batch.large = batch.unclear = batch.like_zeros = batch.decided = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float x = load_high_precision(rule.source, batch.elements, i);
    const UnitScale unit = numbers_of(rule, batch.scale[i]);
    const float near = batch.scale[i] * (rule.rule.divisor * ElementRule::kNearLargest);
    if (!unit.finite) batch.unclear |= uint64_t{1} << i;
    if (batch.scale[i] == rule.scale_like_zeros) batch.like_zeros |= uint64_t{1} << i;
    if (!(std::fabs(x) < near)) batch.large |= uint64_t{1} << i;
    if (rule.may_decide(batch.old_code[i])) batch.decided |= uint64_t{1} << i;
    if (!unit.finite) continue;
    if (rule.element == Element::kE4M3) {
      batch.code[i] = encode_e4m3(rule.rule, rule.source, unit, x);
    } else {
      const int code = encode_integer(rule.rule, rule.source, unit, x);
      batch.code[i] = static_cast<uint8_t>(rule.element == Element::kInt4 ? code + 8 : code);
    }
  }
}

}  // namespace liveweight
