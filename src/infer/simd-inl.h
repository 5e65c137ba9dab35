// What the SIMD files of this room share. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_INFER_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_SIMD_INL_H_
#undef LIVEWEIGHT_INFER_SIMD_INL_H_
#else
#define LIVEWEIGHT_INFER_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<FloatTag>;
inline constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

// Tokens of a product whose sums fit in the registers of the instruction set.
inline constexpr int kRegisterTokens = kLanes == 16 ? 6 : 2;

// Calls body(count, token) for all tokens in [token, end), `kMost` at a time and then the rest at once; count
// is a constant, over which loops unroll.
template <int kMost, typename Body>
HWY_INLINE void for_token_counts(int token, int end, const Body& body) {
  for (; end - token >= kMost; token += kMost) body(std::integral_constant<int, kMost>(), token);
  if constexpr (kMost > 1) for_token_counts<kMost - 1>(token, end, body);
}

// The first `count` (fewer than kLanes) elements, zeros behind them; reads nothing beyond.
HWY_INLINE FloatVector load_first(const float* from, int64_t count) {
  HWY_ALIGN float buffer[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = from[i];
  return hn::Load(FloatTag(), buffer);
}

HWY_INLINE void store_first(FloatVector value, float* to, int64_t count) {
  HWY_ALIGN float buffer[kLanes];
  hn::Store(value, FloatTag(), buffer);
  for (int64_t i = 0; i < count; ++i) to[i] = buffer[i];
}

// Halves are added until one number is left: lane i and lane i + 8, then i + 4, and so on. On x86 Highway
// does it so, elsewhere in another order.
#if HWY_TARGET <= HWY_SSSE3 || HWY_TARGET == HWY_SCALAR
HWY_INLINE float sum_lanes(FloatVector value) {
  return hn::GetLane(hn::SumOfLanes(FloatTag(), value));
}
#else
template <typename D = FloatTag>
HWY_INLINE float sum_lanes(hn::Vec<D> value) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::GetLane(value);
  } else {
    const hn::Half<D> half;
    return sum_lanes<hn::Half<D> >(hn::Add(hn::LowerHalf(half, value), hn::UpperHalf(half, value)));
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
