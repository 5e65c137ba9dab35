// The loops behind vector_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_VECTOR_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_VECTOR_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_VECTOR_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_VECTOR_KERNELS_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "infer/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Calls whole(i) for every kLanes elements and rest(i, count) for what remains.
template <typename Whole, typename Rest>
HWY_INLINE void walk(int64_t size, const Whole& whole, const Rest& rest) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) whole(i);
  if (i < size) rest(i, size - i);
}

HWY_INLINE float dot(const float* a, const float* b, int64_t size) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  walk(
      size, [&](int64_t i) HWY_ATTR { sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum); },
      [&](int64_t i, int64_t count)
          HWY_ATTR { sum = hn::MulAdd(load_first(a + i, count), load_first(b + i, count), sum); });
  return sum_lanes(sum);
}

// out[i] = f(a[i], b[i])
template <typename F>
HWY_INLINE void map2(const float* a, const float* b, int64_t size, float* out, const F& f) {
  const FloatTag d;
  walk(
      size, [&](int64_t i) HWY_ATTR { hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i); },
      [&](int64_t i, int64_t count)
          HWY_ATTR { store_first(f(load_first(a + i, count), load_first(b + i, count)), out + i, count); });
}

void rms_norm_on(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  const float mean = dot(x, x, size) / static_cast<float>(size);
  const FloatVector factor = hn::Set(FloatTag(), 1.0f / std::sqrt(mean + epsilon));
  map2(x, weight, size, out,
       [&](FloatVector v, FloatVector w) HWY_ATTR { return hn::Mul(w, hn::Mul(v, factor)); });
}

// The exponential of a negative number only: that of a large one is beyond hn::Exp's range.
HWY_INLINE FloatVector sigmoid(FloatVector x) {
  const FloatTag d;
  const FloatVector one = hn::Set(d, 1.0f);
  const FloatVector e = hn::Exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Ge(x, hn::Zero(d)), one, e), hn::Add(one, e));
}

void silu_multiply_on(const float* gate, const float* up, int64_t size, float* out) {
  map2(gate, up, size, out,
       [&](FloatVector g, FloatVector u) HWY_ATTR { return hn::Mul(hn::Mul(g, sigmoid(g)), u); });
}

void dot_rows_on(const float* query, const float* rows, int64_t stride, int64_t count, int64_t size,
                 float scale, float* scores) {
  for (int64_t i = 0; i < count; ++i) scores[i] = scale * dot(query, rows + i * stride, size);
}

void add_weighted_rows_on(const float* weights, const float* rows, int64_t stride, int64_t count,
                          int64_t size, float keep, float* sum) {
  const FloatTag d;
  walk(
      size,
      [&](int64_t col) HWY_ATTR {
        FloatVector value = hn::Mul(hn::Set(d, keep), hn::LoadU(d, sum + col));
        for (int64_t i = 0; i < count; ++i) {
          value = hn::MulAdd(hn::Set(d, weights[i]), hn::LoadU(d, rows + i * stride + col), value);
        }
        hn::StoreU(value, d, sum + col);
      },
      [&](int64_t col, int64_t width) HWY_ATTR {
        FloatVector value = hn::Mul(hn::Set(d, keep), load_first(sum + col, width));
        for (int64_t i = 0; i < count; ++i) {
          value = hn::MulAdd(hn::Set(d, weights[i]), load_first(rows + i * stride + col, width), value);
        }
        store_first(value, sum + col, width);
      });
}

// The sum of exp(values[i] - shift), each handed to `keep(i, exponentials, count)`.
template <typename Keep>
HWY_INLINE float walk_exponentials(const float* values, int64_t size, float shift, const Keep& keep) {
  const FloatTag d;
  const FloatVector shifts = hn::Set(d, shift);
  FloatVector sum = hn::Zero(d);
  walk(
      size,
      [&](int64_t i) HWY_ATTR {
        const FloatVector e = hn::Exp(d, hn::Sub(hn::LoadU(d, values + i), shifts));
        keep(i, e, kLanes);
        sum = hn::Add(sum, e);
      },
      [&](int64_t i, int64_t count) HWY_ATTR {
        const FloatVector e = hn::Exp(d, hn::Sub(load_first(values + i, count), shifts));
        keep(i, e, count);
        sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count)), e));
      });
  return sum_lanes(sum);
}

float exponentials_on(float* values, int64_t size, float shift) {
  return walk_exponentials(values, size, shift, [&](int64_t i, FloatVector e, int64_t count) HWY_ATTR {
    if (count == kLanes) return hn::StoreU(e, FloatTag(), values + i);
    store_first(e, values + i, count);
  });
}

float sum_exponentials_on(const float* values, int64_t size, float shift) {
  return walk_exponentials(values, size, shift, [](int64_t, FloatVector, int64_t) HWY_ATTR {});
}

float maximum_on(const float* values, int64_t size) {
  const FloatTag d;
  FloatVector largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) largest = hn::Max(largest, hn::LoadU(d, values + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < size; ++i) result = std::max(result, values[i]);
  return result;
}

void add_scaled_on(const float* x, float factor, int64_t size, float* y) {
  const FloatVector factors = hn::Set(FloatTag(), factor);
  map2(x, y, size, y, [&](FloatVector v, FloatVector to) HWY_ATTR { return hn::MulAdd(v, factors, to); });
}

void scale_on(float factor, int64_t size, float* y) {
  const FloatVector factors = hn::Set(FloatTag(), factor);
  map2(y, y, size, y, [&](FloatVector v, FloatVector) HWY_ATTR { return hn::Mul(v, factors); });
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
