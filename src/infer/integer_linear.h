// y = x W^T with live int8 weights W and activations quantized to int8, a scale a token: exact int32 sums of
// the codes' products, then y = (fp32(sum) * the row's scale) * the token's scale. A token's result is the
// same to the bit on every instruction set, with any number of threads and beside any other tokens.
#pragma once

#include "infer/aligned.h"
#include "infer/integer_kernels.h"
#include "infer/linear.h"

namespace liveweight {

// Room for the quantized activations of one linear layer.
class IntegerWorkspace {
 public:
  void resize(int64_t tokens, int64_t widest_cols);
  IntegerRows rows(int64_t cols);
  const void* data() const { return codes_.data(); }

 private:
  AlignedVector<int8_t> codes_;
  AlignedVector<float> scales_;
  AlignedVector<int32_t> sums_;
};

// Whether weights of that format can be multiplied so: int8 codes, symmetric, one scale a row, and at most
// kMostIntegerCols columns.
bool takes_integers(const KernelFormat& format);

void integer_linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute);

}  // namespace liveweight
