#include "infer/linear_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>

#include "base/targets_fixture.h"
#include "infer/linear.h"
#include "infer/weight_fixture.h"

namespace liveweight {
namespace {

using testing::ElementsAreArray;

int64_t lanes_of(int64_t target) {
  if (target & (HWY_AVX3_DL | HWY_AVX3)) return 16;
  if (target & HWY_SCALAR) return 1;
  return target & HWY_AVX2 ? 8 : 4;
}

// The sum in the order that linear_kernels.h states, written down for one instruction set.
float dot(const std::vector<float>& row, const float* x, int64_t target) {
  const bool fused = (target & (HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_NEON)) != 0;
  const int64_t lanes = lanes_of(target);
  std::vector<float> sums(static_cast<size_t>(lanes));
  for (size_t col = 0; col < row.size(); ++col) {
    float& sum = sums[static_cast<int64_t>(col) % lanes];
    sum = fused ? std::fma(row[col], x[col], sum) : row[col] * x[col] + sum;
  }
  for (int64_t half = lanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

class LinearKernelsTest : public TargetTest {
 protected:
  static std::vector<float> oracle(const WeightFixture& weight, const std::vector<float>& x, int64_t tokens) {
    const KernelFormat& format = weight.format();
    std::vector<float> y(static_cast<size_t>(tokens * format.rows));
    for (int64_t row = 0; row < format.rows; ++row) {
      const std::vector<float> values = weight.row(0, row);
      for (int64_t t = 0; t < tokens; ++t) {
        y[t * format.rows + row] = dot(values, x.data() + t * format.cols, GetParam());
      }
    }
    return y;
  }

  static void expect_oracle(const std::string& scheme, DType dtype, const WeightShape& shape) {
    const WeightFixture weight(scheme, dtype, shape);
    const KernelFormat& format = weight.format();
    // As an engine has it: for the widest of its weights.
    Compute compute(2, linear_scratch_floats(4 * format.cols));
    const std::vector<float> x = random_floats(23 * format.cols);
    for (const int64_t tokens : {1, 2, 3, 4, 5, 8, 9, 13, 23}) {
      std::vector<float> y(static_cast<size_t>(tokens * format.rows));
      linear(weight.view(), {x.data(), tokens, y.data(), format.rows, nullptr, false}, compute);
      ASSERT_THAT(y, ElementsAreArray(oracle(weight, x, tokens)))
          << scheme << " of " << to_string(dtype) << ", " << format.cols << " columns, " << tokens
          << " tokens";
    }
  }
};

TEST_P(LinearKernelsTest, sums_are_the_oracles_to_the_bit) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const char* scheme :
         {"none", "int8_per_channel", "int8_per_tensor@compressed-tensors", "int4_per_group:32",
          "int4_per_group:16@torchao-intx", "int4_per_group:24@torchao-intx",
          "int4_per_group:32@torchao-tinygemm", "int4_per_group:128@compressed-tensors-asymmetric",
          "fp8_per_tensor", "fp8_per_channel", "fp8_per_block"}) {
      for (const WeightShape& shape : {WeightShape{1, {3}, 7}, WeightShape{1, {17, 6}, 172},
                                       WeightShape{1, {9}, 150, 75, 300}, WeightShape{1, {13}, 656}}) {
        expect_oracle(scheme, dtype, shape);
      }
    }
  }
}

TEST_P(LinearKernelsTest, many_groups_are_widened_in_turns) {
  expect_oracle("int4_per_group:32@torchao", DType::kBF16, {1, {5}, 32 * 141});
}

TEST_P(LinearKernelsTest, scales_of_any_size_give_the_oracles_sums) {
  for (const float deviation : {1e-20f, 1e-4f, 1e5f, 1e20f}) {
    for (const char* scheme : {"fp8_per_tensor", "fp8_per_channel", "fp8_per_block", "int8_per_channel"}) {
      expect_oracle(scheme, DType::kBF16, {1, {9}, 300, 0, 0, deviation});
    }
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(LinearKernelsTest, kTargets);

}  // namespace
}  // namespace liveweight
