#include "infer/vector_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "infer/weight_fixture.h"

namespace liveweight {
namespace {

constexpr int64_t kSizes[] = {1, 3, 8, 15, 16, 17, 64, 172};

TEST(VectorKernelsTest, rms_norm_equals_its_formula) {
  for (const int64_t size : kSizes) {
    const auto x = random_floats(size, 1);
    const auto weight = random_floats(size, 2);
    std::vector<float> out(x.size());
    rms_norm(x.data(), weight.data(), 1e-5f, size, out.data());
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(size) + 1e-5);
    for (int64_t i = 0; i < size; ++i) EXPECT_NEAR(out[i], weight[i] * x[i] * factor, 1e-5) << size;
  }
}

TEST(VectorKernelsTest, silu_multiply_equals_its_formula_also_far_from_zero) {
  for (const int64_t size : kSizes) {
    auto gate = random_floats(size, 3);
    gate.front() = -200;
    gate.back() = size > 1 ? 200 : gate.back();
    const auto up = random_floats(size, 4);
    std::vector<float> out(gate.size());
    silu_multiply(gate.data(), up.data(), size, out.data());
    for (int64_t i = 0; i < size; ++i) {
      const double expected = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
      EXPECT_NEAR(out[i], expected, 1e-6 * std::max(1.0, std::fabs(expected))) << gate[i];
    }
  }
}

TEST(VectorKernelsTest, scores_and_weighted_sums_of_rows_equal_their_formulas) {
  constexpr int64_t kCount = 5;
  for (const int64_t size : kSizes) {
    const int64_t stride = size + 3;
    const auto rows = random_floats(kCount * stride, 5);
    const auto query = random_floats(size, 6);
    std::vector<float> scores(kCount);
    dot_rows(query.data(), rows.data(), stride, kCount, size, 0.5f, scores.data());
    std::vector<float> sum = query;
    add_weighted_rows(scores.data(), rows.data(), stride, kCount, size, 0.25f, sum.data());
    for (int64_t i = 0; i < kCount; ++i) {
      double dot = 0;
      for (int64_t col = 0; col < size; ++col) dot += double{query[col]} * rows[i * stride + col];
      EXPECT_NEAR(scores[i], 0.5 * dot, 1e-4);
    }
    for (int64_t col = 0; col < size; ++col) {
      double expected = 0.25 * query[col];
      for (int64_t i = 0; i < kCount; ++i) expected += double{scores[i]} * rows[i * stride + col];
      EXPECT_NEAR(sum[col], expected, 1e-4);
    }
  }
}

TEST(VectorKernelsTest, exponentials_sum_only_their_own_elements) {
  for (const int64_t size : kSizes) {
    auto values = random_floats(size, 8);
    const auto before = values;
    const float largest = maximum(values.data(), size);
    EXPECT_EQ(largest, *std::max_element(before.begin(), before.end()));
    double expected = 0;
    for (const float value : before) expected += std::exp(double{value} - largest);
    EXPECT_NEAR(log_sum_exp(values.data(), size), largest + std::log(expected), 1e-6);
    EXPECT_NEAR(exponentials(values.data(), size, largest), expected, 1e-5 * expected);
    for (int64_t i = 0; i < size; ++i) EXPECT_NEAR(values[i], std::exp(before[i] - largest), 1e-6);
  }
}

TEST(VectorKernelsTest, add_scaled_and_scale_equal_their_formulas) {
  for (const int64_t size : kSizes) {
    const auto x = random_floats(size, 9);
    auto y = random_floats(size, 10);
    const auto before = y;
    add_scaled(x.data(), 3, size, y.data());
    scale(2, size, y.data());
    for (int64_t i = 0; i < size; ++i) EXPECT_NEAR(y[i], 2 * (before[i] + 3 * x[i]), 1e-5);
  }
}

}  // namespace
}  // namespace liveweight
