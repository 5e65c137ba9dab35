// make_unit_scale (profile.h) for many units at once: the same operations in the same order, a unit a lane.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_UNIT_SCALE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_UNIT_SCALE_INL_H_
#undef LIVEWEIGHT_QUANTIZE_UNIT_SCALE_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_UNIT_SCALE_INL_H_
#endif

#include "quantize/profile.h"
#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

inline constexpr int64_t kBatch = 64;  // units

// Extremes and scales of up to kBatch units; padded lanes hold anything.
struct UnitBatch {
  HWY_ALIGN float amax[kBatch], min[kBatch], max[kBatch];
  HWY_ALIGN float scale[kBatch], zero[kBatch], factor[kBatch], reciprocal[kBatch], offset[kBatch];
};

struct ScaleLanes {
  FloatVector scale, zero, factor, reciprocal, offset;
};

template <class S>
class ScaleMaker {
 public:
  explicit ScaleMaker(const ProfileRule& rule) : rule_(rule) {}

  // Of units [0, count). False where one of them needs the oracle: its scale is not finite, it would divide
  // zero by zero, or its quotients would not be exact (encode-inl.h).
  bool make(UnitBatch& batch, int64_t count) const {
    const FloatTag d;
    for (int64_t i = 0; i < count; i += kLanes) {
      const ScaleLanes lanes =
          lanes_of(hn::Load(d, batch.amax + i), hn::Load(d, batch.min + i), hn::Load(d, batch.max + i));
      hn::Store(lanes.scale, d, batch.scale + i);
      hn::Store(lanes.zero, d, batch.zero + i);
      hn::Store(lanes.factor, d, batch.factor + i);
      hn::Store(lanes.reciprocal, d, batch.reciprocal + i);
      hn::Store(lanes.offset, d, batch.offset + i);
    }
    return regular(batch, count);
  }

 private:
  // Divisors whose quotients are exact.
  float least_factor() const {
    const bool rounds =
        rule_.encoding == Encoding::kDivideRounded || rule_.encoding == Encoding::kOffsetDivideRounded;
    const bool divides = rule_.encoding == Encoding::kDivide || rule_.encoding == Encoding::kOffsetDivide;
    if (divides || (rounds && S::kMantissaBits > 7)) return 0x1p-80f;
    return rounds ? 0x1p-126f : std::numeric_limits<float>::denorm_min();
  }

  // Whether all scales and factors are finite, not zero, and divide exactly.
  bool regular(const UnitBatch& batch, int64_t count) const {
    const FloatTag d;
    const float least = least_factor();
    const auto tiny = set(least), huge = set(least == 0x1p-80f ? 0x1p80f : std::numeric_limits<float>::max());
    bool all = true;
    for (int64_t i = 0; i < count; i += kLanes) {
      const auto scale = hn::Abs(hn::Load(d, batch.scale + i)),
                 factor = hn::Abs(hn::Load(d, batch.factor + i));
      const auto not_zero = hn::And(hn::Ge(scale, tiny), hn::Ge(factor, tiny));
      const auto finite = hn::And(hn::Le(scale, huge), hn::Le(factor, huge));
      const auto padding = hn::Not(hn::FirstN(d, static_cast<size_t>(count - i)));
      all &= hn::AllTrue(d, hn::Or(padding, hn::And(not_zero, finite)));
    }
    return all;
  }

  FloatVector rounded(FloatVector x) const { return rule_.scale_in_source_dtype ? S::rounded(x) : x; }
  static FloatVector set(float x) { return hn::Set(FloatTag(), x); }

  ScaleLanes lanes_of(FloatVector amax, FloatVector min, FloatVector max) const {
    ScaleLanes unit{set(0), set(0), set(0), set(0), set(0)};
    switch (rule_.form) {
      case ScaleForm::kAmaxOverC:
        set_symmetric(amax, unit);
        break;
      case ScaleForm::kCOverAmax:
      case ScaleForm::kReciprocalAmaxTimesC:
        set_inverse(amax, unit);
        break;
      case ScaleForm::kRange:
        set_range(min, max, unit);
        break;
      case ScaleForm::kRangeWithZero:
        set_range_with_zero(min, max, unit);
        break;
    }
    const Encoding encoding = rule_.encoding;
    if (encoding == Encoding::kMultiply) unit.factor = hn::Div(set(1), unit.scale);
    if (encoding == Encoding::kMultiplyRounded) unit.factor = S::rounded(hn::Div(set(1), unit.scale));
    if (encoding == Encoding::kDivide || encoding == Encoding::kDivideRounded) unit.factor = unit.scale;
    const bool multiplies = encoding == Encoding::kMultiply || encoding == Encoding::kMultiplyFactor ||
                            encoding == Encoding::kMultiplyRounded;
    if (!multiplies) unit.reciprocal = hn::Div(set(1), unit.factor);
    return unit;
  }

  FloatVector unless_zero(FloatVector scale) const {
    return hn::IfThenElse(hn::Eq(scale, set(0)), set(rule_.zero_scale), scale);
  }

  void set_symmetric(FloatVector amax, ScaleLanes& unit) const {
    const FloatVector scale = rounded(hn::Div(hn::Max(amax, set(rule_.statistic_floor)), set(rule_.divisor)));
    unit.scale = unless_zero(hn::Max(scale, set(rule_.scale_floor)));
  }

  void set_inverse(FloatVector amax, ScaleLanes& unit) const {
    const FloatVector factor = rule_.form == ScaleForm::kCOverAmax
                                   ? hn::Div(set(rule_.divisor), amax)
                                   : hn::Mul(hn::Div(set(1), amax), set(rule_.divisor));
    unit.factor = hn::IfThenElse(hn::Eq(amax, set(0)), set(1), factor);
    unit.scale = hn::Div(set(1), unit.factor);
  }

  void set_range(FloatVector min, FloatVector max, ScaleLanes& unit) const {
    const FloatVector range = hn::Max(rounded(hn::Sub(max, min)), set(rule_.statistic_floor));
    const FloatVector scale = hn::Max(rounded(hn::Div(range, set(rule_.divisor))), set(rule_.scale_floor));
    const FloatVector half = rounded(hn::Mul(scale, set(8)));
    unit.factor = scale;
    unit.zero = S::rounded(rounded(hn::Add(min, half)));
    unit.scale = S::rounded(scale);
    unit.offset = rule_.encoding == Encoding::kOffsetDivideRounded ? rounded(hn::Sub(unit.zero, half)) : min;
  }

  void set_range_with_zero(FloatVector min, FloatVector max, ScaleLanes& unit) const {
    min = hn::Min(min, set(0));
    max = hn::Max(max, set(0));
    const FloatVector scale = S::rounded(hn::Div(S::rounded(hn::Sub(max, min)), set(rule_.divisor)));
    const FloatVector zero = S::rounded(hn::Sub(set(-8), S::rounded(hn::Div(min, scale))));
    const FloatVector code = hn::Round(hn::Min(hn::Max(zero, set(-8)), set(7)));
    unit.zero = hn::IfThenElseZero(hn::Eq(zero, zero), code);
    unit.scale = unless_zero(scale);
    unit.offset = unit.zero;
  }

  const ProfileRule& rule_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
