// Vector arithmetic in fp32, compiled for each instruction set and chosen at run time. The order of every sum
// depends on the arguments of the call alone.
#pragma once

#include <cstdint>

namespace liveweight {

// out = x / sqrt(mean(x^2) + epsilon) * weight; `out` may be `x`.
void rms_norm(const float* x, const float* weight, float epsilon, int64_t size, float* out);

// out = gate / (1 + exp(-gate)) * up
void silu_multiply(const float* gate, const float* up, int64_t size, float* out);

// scores[i] = scale * (query . rows[i]), rows `stride` apart.
void dot_rows(const float* query, const float* rows, int64_t stride, int64_t count, int64_t size, float scale,
              float* scores);

// sum = sum * keep + sum over i of weights[i] * rows[i]
void add_weighted_rows(const float* weights, const float* rows, int64_t stride, int64_t count, int64_t size,
                       float keep, float* sum);

// values[i] = exp(values[i] - shift); returns their sum. The largest value comes from `maximum`.
float exponentials(float* values, int64_t size, float shift);
float maximum(const float* values, int64_t size);

// y += factor * x, and y *= factor
void add_scaled(const float* x, float factor, int64_t size, float* y);
void scale(float factor, int64_t size, float* y);

// log(sum of exp(values[i]))
float log_sum_exp(const float* values, int64_t size);

}  // namespace liveweight
