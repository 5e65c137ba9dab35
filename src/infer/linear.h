// y = x W^T with a live weight W, in fp32 (with int8 activations: integer_linear.h). Few tokens decode the
// weight in registers; more decode some rows at a time into scratch that stays in the cache. Either way every
// byte of the weight is read once, and a token's result does not depend, to the bit, on the tokens beside it.
#pragma once

#include <cstdint>

#include "infer/compute.h"
#include "infer/weight_tile.h"

namespace liveweight {

class IntegerWorkspace;

struct LinearArguments {
  const float* x = nullptr;  // [tokens, cols]
  int64_t tokens = 0;
  float* y = nullptr;  // [tokens, y_stride], of which the first `rows` are written
  int64_t y_stride = 0;
  const float* bias = nullptr;           // [rows], or null
  bool accumulate = false;               // add to y
  IntegerWorkspace* integers = nullptr;  // for integer products where the weight takes them, or null
};

// y of one token from `row` on: the products, with the bias, or added to what is there.
void store_products(const LinearArguments& to, int64_t token, int64_t row, int64_t rows, const float* values);

// The scratch that `linear` needs for a thread, for weights of at most that many columns.
int64_t linear_scratch_floats(int64_t cols);

void linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute);

// One row of the weight in fp32; a norm or a bias in fp32.
void dequantize_weight_row(const WeightView& weight, int64_t row, float* out);
void dequantize_vector(const WeightView& weight, float* out);

}  // namespace liveweight
