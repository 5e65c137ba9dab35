// y = x W^T with live int8 or int4 weights W and activations quantized to int8, a scale a token: exact int32
// sums of the codes' products, then y = (fp32(sum) * the row's scale) * the token's scale; with a scale a
// group, what is before the token's is summed over the groups (group_kernels.h). A token's result is the same
// to the bit on every instruction set, with any number of threads and beside any other tokens.
#pragma once

#include "infer/aligned.h"
#include "infer/integer_kernels.h"
#include "infer/linear.h"

namespace liveweight {

// Room for the quantized activations of one linear layer.
class IntegerWorkspace {
 public:
  explicit IntegerWorkspace(bool vnni = has_vnni()) : vnni_(vnni) {}
  void resize(int64_t tokens, int64_t widest_cols);
  IntegerRows rows(int64_t cols);
  const void* data() const { return codes_.data(); }

 private:
  bool vnni_;
  AlignedVector<int8_t> codes_;
  AlignedVector<float> scales_;
  AlignedVector<int32_t> sums_;
  AlignedVector<int8_t> split_;
  AlignedVector<int32_t> group_zeros_;
};

// Whether weights of that format can be multiplied so: symmetric, at most kMostIntegerCols columns, and
// either int8 with one scale a row or a matrix, or int4 with one a group, which the slot holds whole, where
// groups and columns are multiples of kGroupStep.
bool takes_integers(const KernelFormat& format);

void integer_linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute);

}  // namespace liveweight
