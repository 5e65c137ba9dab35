#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/vector_kernels.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include "infer/vector_kernels-inl.h"
#include "infer/vector_kernels.h"

#if HWY_ONCE
#include <cmath>

namespace liveweight {

HWY_EXPORT(rms_norm_on);
HWY_EXPORT(silu_multiply_on);
HWY_EXPORT(dot_rows_on);
HWY_EXPORT(add_weighted_rows_on);
HWY_EXPORT(exponentials_on);
HWY_EXPORT(maximum_on);
HWY_EXPORT(add_scaled_on);
HWY_EXPORT(scale_on);
HWY_EXPORT(sum_exponentials_on);

void rms_norm(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm_on)(x, weight, epsilon, size, out);
}

void silu_multiply(const float* gate, const float* up, int64_t size, float* out) {
  HWY_DYNAMIC_DISPATCH(silu_multiply_on)(gate, up, size, out);
}

void dot_rows(const float* query, const float* rows, int64_t stride, int64_t count, int64_t size, float scale,
              float* scores) {
  HWY_DYNAMIC_DISPATCH(dot_rows_on)(query, rows, stride, count, size, scale, scores);
}

void add_weighted_rows(const float* weights, const float* rows, int64_t stride, int64_t count, int64_t size,
                       float keep, float* sum) {
  HWY_DYNAMIC_DISPATCH(add_weighted_rows_on)(weights, rows, stride, count, size, keep, sum);
}

float exponentials(float* values, int64_t size, float shift) {
  return HWY_DYNAMIC_DISPATCH(exponentials_on)(values, size, shift);
}

float maximum(const float* values, int64_t size) {
  return HWY_DYNAMIC_DISPATCH(maximum_on)(values, size);
}

void add_scaled(const float* x, float factor, int64_t size, float* y) {
  HWY_DYNAMIC_DISPATCH(add_scaled_on)(x, factor, size, y);
}

void scale(float factor, int64_t size, float* y) {
  HWY_DYNAMIC_DISPATCH(scale_on)(factor, size, y);
}

float log_sum_exp(const float* values, int64_t size) {
  const float largest = maximum(values, size);
  return largest + std::log(HWY_DYNAMIC_DISPATCH(sum_exponentials_on)(values, size, largest));
}

}  // namespace liveweight
#endif
