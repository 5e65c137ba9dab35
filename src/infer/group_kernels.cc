#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/group_kernels.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include "infer/group_kernels-inl.h"
#include "infer/group_kernels.h"
#include "infer/group_rows-inl.h"

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(split_token_on);
HWY_EXPORT(pack_group_panel_on);
HWY_EXPORT(multiply_group_panel_on);
HWY_EXPORT(multiply_group_rows_on);

void split_token(int64_t cols, int64_t group, int64_t token, const IntegerRows& x) {
  HWY_DYNAMIC_DISPATCH(split_token_on)(cols, group, token, x);
}

void pack_group_panel(const WeightView& weight, int64_t row, std::byte* panel) {
  HWY_DYNAMIC_DISPATCH(pack_group_panel_on)(weight, row, panel);
}

void multiply_group_panel(const std::byte* panel, int64_t cols, int64_t group, const IntegerRows& x,
                          int64_t token, int tokens, float* out) {
  HWY_DYNAMIC_DISPATCH(multiply_group_panel_on)(panel, cols, group, x, token, tokens, out);
}

void multiply_group_rows(const WeightView& weight, int64_t row, const IntegerRows& x, int tokens,
                         std::byte* panel, float* out) {
  HWY_DYNAMIC_DISPATCH(multiply_group_rows_on)(weight, row, x, tokens, panel, out);
}

}  // namespace liveweight
#endif
