#include "quantize/profile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/codec.h"

namespace liveweight {
namespace {

float smallest_normal(DType dtype) {
  return dtype == DType::kF16 ? 0x1p-14f : 0x1p-126f;
}

float epsilon(DType dtype) {
  if (dtype == DType::kBF16) return 0x1p-7f;
  return dtype == DType::kF16 ? 0x1p-10f : 0x1p-23f;
}

void set_codes(ProfileRule& rule, Element element) {
  const float top = element == Element::kInt8 ? 127.0f : element == Element::kInt4 ? 7.0f : 448.0f;
  rule.highest = top;
  rule.lowest = element == Element::kE4M3 ? -top : -top - 1;
}

ProfileRule torchao(const Scheme& scheme, DType source) {
  ProfileRule rule;
  rule.scale_in_source_dtype = true;
  if (scheme.element == Element::kInt8) {
    rule.encoding = Encoding::kMultiply;
    rule.divisor = 127.5f;
    rule.scale_floor = 0x1p-23f;
  } else if (scheme.element == Element::kE4M3) {
    rule.divisor = 448.0f;
  } else {
    rule.form = ScaleForm::kRange;
    rule.encoding = Encoding::kOffsetDivide;
    rule.divisor = 15.0f;
    rule.scale_in_source_dtype = false;
    rule.statistic_floor = 1e-6f;
    rule.scale_dtype = source;
    rule.floating_zero = true;
  }
  return rule;
}

ProfileRule torchao_intx(const Scheme& scheme, DType source) {
  ProfileRule rule;
  rule.encoding = Encoding::kMultiplyRounded;
  rule.divisor = scheme.element == Element::kInt8 ? 127.5f : 7.5f;
  rule.scale_in_source_dtype = true;
  rule.scale_floor = smallest_normal(source);
  rule.scale_dtype = source;
  return rule;
}

ProfileRule torchao_tinygemm(DType source) {
  ProfileRule rule;
  rule.form = ScaleForm::kRange;
  rule.encoding = Encoding::kOffsetDivideRounded;
  rule.divisor = 15.0f;
  rule.scale_in_source_dtype = true;
  rule.scale_floor = smallest_normal(source);
  rule.scale_dtype = source;
  rule.floating_zero = true;
  return rule;
}

ProfileRule compressed_tensors(const Scheme& scheme, DType source, bool symmetric) {
  ProfileRule rule;
  rule.form = symmetric ? ScaleForm::kAmaxOverC : ScaleForm::kRangeWithZero;
  rule.encoding = Encoding::kDivideRounded;
  rule.divisor = scheme.element == Element::kInt8 ? 127.5f : scheme.element == Element::kInt4 ? 7.5f : 448.0f;
  if (!symmetric) rule.divisor = 15.0f;
  rule.scale_in_source_dtype = true;
  rule.zero_scale = epsilon(source);
  rule.scale_dtype = source;
  rule.integer_zero = !symmetric;
  return rule;
}

ProfileRule vllm(const Scheme& scheme) {
  ProfileRule rule;
  rule.divisor = 448.0f;
  if (scheme.element == Element::kInt8) {
    rule.encoding = Encoding::kDivideRounded;
    rule.divisor = 127.0f;
    rule.scale_in_source_dtype = true;
  } else if (scheme.granularity == Granularity::kTensor) {
    rule.encoding = Encoding::kMultiply;
  } else if (scheme.granularity == Granularity::kRow) {
    rule.scale_floor = static_cast<float>(1.0 / (448.0 * 512.0));
  } else {
    rule.encoding = Encoding::kMultiply;
    rule.statistic_floor = 1e-4f;
  }
  return rule;
}

ProfileRule block_profile(Profile profile) {
  ProfileRule rule;
  rule.divisor = 448.0f;
  if (profile == Profile::kPrimeRl) {
    rule.scale_floor = 1e-12f;
  } else if (profile == Profile::kSlime) {
    rule.encoding = Encoding::kMultiply;
    rule.statistic_floor = 1e-10f;
  } else {
    rule.encoding = Encoding::kMultiplyFactor;
    rule.fill_edges = profile == Profile::kNemo;
    rule.form = profile == Profile::kNemo ? ScaleForm::kReciprocalAmaxTimesC : ScaleForm::kCOverAmax;
  }
  return rule;
}

ProfileRule profile_rule(const Scheme& scheme, DType source) {
  switch (scheme.profile) {
    case Profile::kTorchao:
      return torchao(scheme, source);
    case Profile::kTorchaoIntx:
      return torchao_intx(scheme, source);
    case Profile::kTorchaoTinygemm:
      return torchao_tinygemm(source);
    case Profile::kTorchaoFused: {
      ProfileRule rule;
      rule.divisor = 448.0f;
      rule.statistic_floor = 0x1p-9f;
      return rule;
    }
    case Profile::kCompressedTensors:
      return compressed_tensors(scheme, source, true);
    case Profile::kCompressedTensorsAsymmetric:
      return compressed_tensors(scheme, source, false);
    case Profile::kPrimeRl:
    case Profile::kSlime:
    case Profile::kNemo:
    case Profile::kVerl:
      return block_profile(scheme.profile);
    case Profile::kNone:
    case Profile::kVllm:
      return vllm(scheme);
  }
  return {};
}

void set_symmetric(const ProfileRule& rule, DType T, float amax, UnitScale& unit) {
  float scale = std::max(amax, rule.statistic_floor) / rule.divisor;
  if (rule.scale_in_source_dtype) scale = round_to(T, scale);
  scale = std::max(scale, rule.scale_floor);
  unit.scale = scale == 0 ? rule.zero_scale : scale;
}

void set_inverse(const ProfileRule& rule, float amax, UnitScale& unit) {
  const float factor =
      rule.form == ScaleForm::kCOverAmax ? rule.divisor / amax : (1.0f / amax) * rule.divisor;
  unit.factor = amax == 0 ? 1.0f : factor;
  unit.scale = 1.0f / unit.factor;
}

void set_range(const ProfileRule& rule, DType T, const Extremes& extremes, UnitScale& unit) {
  const auto round = [&](float x) { return rule.scale_in_source_dtype ? round_to(T, x) : x; };
  const float range = std::max(round(extremes.max - extremes.min), rule.statistic_floor);
  const float scale = std::max(round(range / rule.divisor), rule.scale_floor);
  unit.factor = scale;
  unit.zero = round_to(T, round(extremes.min + round(scale * 8)));
  unit.scale = round_to(T, scale);
  unit.offset =
      rule.encoding == Encoding::kOffsetDivideRounded ? round(unit.zero - round(scale * 8)) : extremes.min;
}

void set_range_with_zero(const ProfileRule& rule, DType T, const Extremes& extremes, UnitScale& unit) {
  const float min = std::min(extremes.min, 0.0f), max = std::max(extremes.max, 0.0f);
  const float scale = round_to(T, round_to(T, max - min) / rule.divisor);
  const float zero = round_to(T, -8.0f - round_to(T, min / scale));
  unit.zero = std::isnan(zero) ? 0.0f : std::nearbyint(std::clamp(zero, -8.0f, 7.0f));
  unit.scale = scale == 0 ? rule.zero_scale : scale;
  unit.offset = unit.zero;
}

// The number that is rounded to a code. NaN (zero times infinity, zero by zero) comes out as NaN.
float to_code_space(const ProfileRule& rule, DType T, const UnitScale& unit, float x) {
  switch (rule.encoding) {
    case Encoding::kDivide:
      return x / unit.factor;
    case Encoding::kMultiply:
    case Encoding::kMultiplyFactor:
      return x * unit.factor;
    case Encoding::kDivideRounded:
      return round_to(T, round_to(T, x / unit.factor) + unit.offset);
    case Encoding::kMultiplyRounded:
      return round_to(T, x * unit.factor);
    case Encoding::kOffsetDivide:
      return (x - unit.offset) / unit.factor;
    case Encoding::kOffsetDivideRounded:
      return round_to(T, round_to(T, x - unit.offset) / unit.factor);
  }
  return 0;
}

bool is_offset(Encoding encoding) {
  return encoding == Encoding::kOffsetDivide || encoding == Encoding::kOffsetDivideRounded;
}

}  // namespace

ProfileRule rule_for(const Scheme& scheme, DType source) {
  ProfileRule rule = profile_rule(scheme, source);
  set_codes(rule, scheme.element);
  if (scheme.profile == Profile::kVllm && scheme.element == Element::kInt8) rule.lowest = -127.0f;
  return rule;
}

UnitScale make_unit_scale(const ProfileRule& rule, DType source, const Extremes& extremes) {
  UnitScale unit;
  switch (rule.form) {
    case ScaleForm::kAmaxOverC:
      set_symmetric(rule, source, extremes.amax, unit);
      break;
    case ScaleForm::kCOverAmax:
    case ScaleForm::kReciprocalAmaxTimesC:
      set_inverse(rule, extremes.amax, unit);
      break;
    case ScaleForm::kRange:
      set_range(rule, source, extremes, unit);
      break;
    case ScaleForm::kRangeWithZero:
      set_range_with_zero(rule, source, extremes, unit);
      break;
  }
  if (rule.encoding == Encoding::kMultiply) unit.factor = 1.0f / unit.scale;
  if (rule.encoding == Encoding::kMultiplyRounded) unit.factor = round_to(source, 1.0f / unit.scale);
  if (rule.encoding == Encoding::kDivide || rule.encoding == Encoding::kDivideRounded)
    unit.factor = unit.scale;
  unit.finite = std::isfinite(unit.scale);  // a zero point lies among the elements
  return unit;
}

int8_t encode_integer(const ProfileRule& rule, DType source, const UnitScale& unit, float x) {
  const float value = to_code_space(rule, source, unit, x);
  if (std::isnan(value)) return 0;
  if (is_offset(rule.encoding)) {
    return static_cast<int8_t>(static_cast<int>(std::clamp(std::nearbyint(value), 0.0f, 15.0f)) - 8);
  }
  return static_cast<int8_t>(std::clamp(std::nearbyint(value), rule.lowest, rule.highest));
}

uint8_t encode_e4m3(const ProfileRule& rule, DType source, const UnitScale& unit, float x) {
  const float value = to_code_space(rule, source, unit, x);
  return std::isnan(value) ? 0 : float_to_e4m3(value);
}

}  // namespace liveweight
