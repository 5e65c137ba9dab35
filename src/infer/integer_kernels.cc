#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/integer_kernels.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include "infer/integer_kernels-inl.h"
#include "infer/integer_kernels.h"

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(has_vnni_on);
HWY_EXPORT(quantize_token_on);
HWY_EXPORT(pack_integer_panel_on);
HWY_EXPORT(multiply_integer_panel_on);
HWY_EXPORT(multiply_integer_tile_on);

bool has_vnni() {
  return HWY_DYNAMIC_DISPATCH(has_vnni_on)();
}

void quantize_token(const float* x, int64_t cols, int64_t token, const IntegerRows& to) {
  HWY_DYNAMIC_DISPATCH(quantize_token_on)(x, cols, token, to);
}

void pack_integer_panel(const WeightTile& tile, int first, const IntegerRows& x, std::byte* panel) {
  HWY_DYNAMIC_DISPATCH(pack_integer_panel_on)(tile, first, x, panel);
}

void multiply_integer_panel(const std::byte* panel, int64_t cols, const IntegerRows& x, int64_t token,
                            int tokens, int32_t* out) {
  HWY_DYNAMIC_DISPATCH(multiply_integer_panel_on)(panel, cols, x, token, tokens, out);
}

void multiply_integer_tile(const WeightTile& tile, int first, const IntegerRows& x, int64_t token, int tokens,
                           int32_t* out) {
  HWY_DYNAMIC_DISPATCH(multiply_integer_tile_on)(tile, first, x, token, tokens, out);
}

}  // namespace liveweight
#endif
