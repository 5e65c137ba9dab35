// Scales and zero points of a tile's rows, widened to fp32 many spans at a time. Included once for each
// instruction set.
#if defined(LIVEWEIGHT_INFER_FACTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_FACTORS_INL_H_
#undef LIVEWEIGHT_INFER_FACTORS_INL_H_
#else
#define LIVEWEIGHT_INFER_FACTORS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "infer/code_loaders-inl.h"
#include "infer/weight_tile.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

inline constexpr int64_t kSpansTogether = 64;

// The scale and the zero point of one row over one span.
template <Scaling kScaling>
struct Factors {
  FloatVector scale;
  FloatVector zero;

  // The scale takes on a power of two that the codes' loader left out.
  HWY_INLINE void widen(float factor) {
    if constexpr (kScaling == Scaling::kNone) return;
    if (factor != 1) scale = hn::Mul(scale, hn::Set(FloatTag(), factor));
  }

  HWY_INLINE FloatVector apply(FloatVector code) const {
    if constexpr (kScaling == Scaling::kNone) return code;
    if constexpr (kScaling == Scaling::kSymmetric) return hn::Mul(code, scale);
    if constexpr (kScaling == Scaling::kIntegerZero) return hn::Mul(hn::Sub(code, zero), scale);
    return hn::Add(hn::Mul(code, scale), zero);
  }
};

// The last register overlaps the one before it rather than read behind the row.
template <typename Load>
HWY_INLINE void widen(const std::byte* from, int64_t begin, int64_t count, float* to) {
  if (count < kLanes) {
    for (int64_t i = 0; i < count; ++i) to[i] = Load::load_one(from, begin + i);
    return;
  }
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t at = std::min(i, count - kLanes);
    hn::StoreU(Load::load(from, begin + at), FloatTag(), to + at);
  }
}

HWY_INLINE void widen_factors(DType dtype, const std::byte* from, int64_t begin, int64_t count, float* to) {
  if (dtype == DType::kF32) return widen<LoadF32>(from, begin, count, to);
  if (dtype == DType::kBF16) return widen<LoadBF16>(from, begin, count, to);
  if (dtype == DType::kF16) return widen<LoadF16>(from, begin, count, to);
  widen<LoadI8>(from, begin, count, to);
}

HWY_INLINE float largest_magnitude(const float* values, int64_t count) {
  const FloatTag d;
  auto largest = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) largest = hn::Max(largest, hn::Abs(hn::LoadU(d, values + i)));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) result = std::max(result, std::fabs(values[i]));
  return result;
}

// Those of kRows rows over kSpansTogether spans.
template <Scaling kScaling, int kRows>
class SpanFactors {
 public:
  HWY_INLINE void load(const WeightTile& rows, int first, int64_t span) {
    if constexpr (kScaling == Scaling::kNone) return;
    const int64_t count = count_from(rows, span);
    for (int r = 0; r < kRows; ++r) {
      widen_factors(rows.scale_dtype, rows.scale[first + r], span, count, scales_[r]);
      if constexpr (kScaling == Scaling::kSymmetric) continue;
      widen_factors(rows.zero_dtype, rows.zero[first + r], span, count, zeros_[r]);
    }
  }

  // Whether every scale can take on the factor that the loader left out and stay finite.
  HWY_INLINE bool can_widen(const WeightTile& rows, int64_t span, float factor) const {
    float largest = 0;
    for (const auto& scales : scales_) {
      largest = std::max(largest, largest_magnitude(scales, count_from(rows, span)));
    }
    return std::isfinite(largest * factor);
  }

  HWY_INLINE Factors<kScaling> of(int row, int64_t index) const {
    const FloatTag d;
    Factors<kScaling> factors{hn::Zero(d), hn::Zero(d)};
    if constexpr (kScaling != Scaling::kNone) factors.scale = hn::Set(d, scales_[row][index]);
    if constexpr (kHasZeros) factors.zero = hn::Set(d, zeros_[row][index]);
    return factors;
  }

 private:
  static int64_t count_from(const WeightTile& rows, int64_t span) {
    return std::min(kSpansTogether, rows.span_of(rows.cols - 1) + 1 - span);
  }

  static constexpr bool kHasZeros = kScaling == Scaling::kIntegerZero || kScaling == Scaling::kFloatingZero;

  HWY_ALIGN float scales_[kRows][kSpansTogether];
  HWY_ALIGN float zeros_[kRows][kSpansTogether];
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
