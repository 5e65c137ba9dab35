// The permutations of bytes that AVX3_DL adds decode int4.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/linear_kernels.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include "infer/linear_kernels-inl.h"
#include "infer/linear_kernels.h"

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(dot_tile_on);
HWY_EXPORT(decode_panel_on);
HWY_EXPORT(multiply_panel_on);
HWY_EXPORT(decode_row_on);

void dot_tile(const WeightTile& rows, const float* const* x, int tokens, float* out) {
  HWY_DYNAMIC_DISPATCH(dot_tile_on)(rows, x, tokens, out);
}

void decode_panel(const WeightTile& rows, int first, float* panel) {
  HWY_DYNAMIC_DISPATCH(decode_panel_on)(rows, first, panel);
}

void multiply_panel(const float* panel, int64_t cols, const float* const* x, int tokens, float* out) {
  HWY_DYNAMIC_DISPATCH(multiply_panel_on)(panel, cols, x, tokens, out);
}

void decode_row(const WeightTile& rows, int index, float* out) {
  HWY_DYNAMIC_DISPATCH(decode_row_on)(rows, index, out);
}

const char* infer_target() {
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(supported & -supported);
}

}  // namespace liveweight
#endif
