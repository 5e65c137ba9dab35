// The numerics of every profile, in one parametric form: how a unit's scale follows from its elements, and
// how an element becomes a code. Plain data, so that the oracle and the vectorised code read the same rule.
// Where each rule comes from is in docs/quantization.md.
#pragma once

#include "liveweight/dtype.h"
#include "liveweight/scheme.h"

namespace liveweight {

// What a scale is made of. In all of them `c` is ProfileRule::divisor.
enum class ScaleForm : uint8_t {
  kAmaxOverC,             // amax / c
  kCOverAmax,             // f = c / amax, 1 where amax is 0; stored as 1 / f
  kReciprocalAmaxTimesC,  // f = (1 / amax) * c, 1 where amax is 0; stored as 1 / f
  kRange,                 // (max - min) / c; zero = min + 8 s
  kRangeWithZero,         // the same with min <= 0 <= max; integer zero = rne(clamp(-8 - min / s))
};

// How an element x becomes the number that is rounded to a code. T rounds to the source's dtype.
enum class Encoding : uint8_t {
  kDivide,               // x / s
  kMultiply,             // x * (1 / s)
  kMultiplyFactor,       // x * f
  kDivideRounded,        // T(T(x / s) + zero)
  kMultiplyRounded,      // T(x * T(1 / s))
  kOffsetDivide,         // (x - min) / s - 8, rounded before the 8 is taken off
  kOffsetDivideRounded,  // T(T(x - T(zero - T(8 s))) / s) - 8, likewise
};

struct ProfileRule {
  ScaleForm form = ScaleForm::kAmaxOverC;
  Encoding encoding = Encoding::kDivide;
  float divisor = 1;
  bool scale_in_source_dtype = false;  // every operation that forms the scale rounds to the source's dtype
  float statistic_floor = 0;           // amax, or max - min, is at least this
  float scale_floor = 0;
  float zero_scale = 0;     // what a scale of 0 becomes
  bool fill_edges = false;  // edge blocks count the tensor's last element for their amax
  float lowest = 0;         // of codes; for e4m3 -448 and 448
  float highest = 0;
  DType scale_dtype = DType::kF32;
  bool integer_zero = false;
  bool floating_zero = false;  // stored in the source's dtype
};

// The rule of a scheme that quantizes, for elements of that dtype (BF16, F16 or F32).
ProfileRule rule_for(const Scheme& scheme, DType source);

// One unit's numbers. `scale` and `zero` are as stored (rounded to their dtype); `finite` tells whether the
// scale is, and with it the zero point.
struct UnitScale {
  float scale = 0;
  float zero = 0;
  float factor = 0;  // what x is divided by or multiplied with
  float offset = 0;  // what is added after, or taken from x before
  bool finite = true;
};

// The extremes of a unit. amax is used by the symmetric forms, min and max by the others.
struct Extremes {
  float amax = 0;
  float min = 0;
  float max = 0;
};

UnitScale make_unit_scale(const ProfileRule& rule, DType source, const Extremes& extremes);

// The code of one element: int8 and int4 as a two's complement number, e4m3 as its byte.
int8_t encode_integer(const ProfileRule& rule, DType source, const UnitScale& unit, float x);
uint8_t encode_e4m3(const ProfileRule& rule, DType source, const UnitScale& unit, float x);

}  // namespace liveweight
