// Integer products on every instruction set against their scalar definition (integer_kernels.h).
#include "infer/integer_linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/targets_fixture.h"
#include "infer/weight_fixture.h"

namespace liveweight {
namespace {

using testing::Each;
using testing::ElementsAreArray;

struct Token {
  std::vector<int> codes;
  float scale = 0;
};

Token quantized(const float* x, int64_t cols) {
  Token token{std::vector<int>(static_cast<size_t>(cols)), 0};
  float largest = 0;
  for (int64_t col = 0; col < cols; ++col) {
    if (!std::isfinite(x[col])) {
      token.scale = std::numeric_limits<float>::quiet_NaN();
      return token;
    }
    largest = std::max(largest, std::fabs(x[col]));
  }
  token.scale = largest / 127;
  const float inverse = 127 / largest;
  if (!std::isfinite(inverse)) return token;
  for (int64_t col = 0; col < cols; ++col) {
    const float product = x[col] * inverse;
    token.codes[col] = static_cast<int>(std::nearbyint(product));
  }
  return token;
}

// Of a row with a token, before the token's scale: by the codes as they lie in the slot, span by span.
float product_of(const WeightTile& row, const Token& token) {
  float product = 0;
  int64_t sum = 0;
  for (int64_t col = 0; col < row.cols; ++col) {
    const int code = std::to_integer<int>(row.data[0][row.code == Code::kI4 ? col / 2 : col]);
    const int number =
        row.code == Code::kI4 ? (col % 2 ? code >> 4 : code & 15) - 8 : static_cast<int8_t>(code);
    sum += int64_t{number} * token.codes[col];
    const int64_t span = row.span_of(col);
    if (col + 1 < row.cols && row.span_of(col + 1) == span) continue;
    product += static_cast<float>(sum) * scale_of(row, 0, span);
    sum = 0;
  }
  return product;
}

std::vector<float> oracle(const WeightFixture& weight, const std::vector<float>& x, int64_t tokens) {
  const KernelFormat& format = weight.format();
  std::vector<float> y(static_cast<size_t>(tokens * format.rows));
  for (int64_t t = 0; t < tokens; ++t) {
    const Token token = quantized(x.data() + t * format.cols, format.cols);
    for (int64_t row = 0; row < format.rows; ++row) {
      const WeightTile tile = tile_of(weight.view(), row);
      y[t * format.rows + row] = product_of(tile, token) * token.scale;
    }
  }
  return y;
}

std::vector<float> run_with(bool vnni, const WeightFixture& weight, const std::vector<float>& x,
                            int64_t tokens, int threads) {
  const KernelFormat& format = weight.format();
  Compute compute(threads, linear_scratch_floats(format.cols));
  IntegerWorkspace integers(vnni);
  integers.resize(tokens, format.cols);
  std::vector<float> y(static_cast<size_t>(tokens * format.rows));
  linear(weight.view(), {x.data(), tokens, y.data(), format.rows, nullptr, false, &integers}, compute);
  return y;
}

// With VNNI and without.
std::vector<float> run(const WeightFixture& weight, const std::vector<float>& x, int64_t tokens,
                       int threads = 2) {
  const std::vector<float> y = run_with(false, weight, x, tokens, threads);
  if (has_vnni()) {
    const std::vector<float> other = run_with(true, weight, x, tokens, threads);
    EXPECT_EQ(std::memcmp(y.data(), other.data(), y.size() * sizeof(float)), 0) << "with VNNI";
  }
  return y;
}

class IntegerLinearTest : public TargetTest {};

TEST_P(IntegerLinearTest, products_are_the_oracles_to_the_bit_for_any_number_of_tokens) {
  for (const char* scheme : {"int8_per_channel", "int8_per_channel@torchao-intx",
                             "int8_per_channel@compressed-tensors", "int8_per_tensor@compressed-tensors"}) {
    for (const WeightShape& shape :
         {WeightShape{1, {1}, 1}, WeightShape{1, {3}, 7}, WeightShape{1, {17, 6}, 172},
          WeightShape{1, {9}, 150, 75, 300}, WeightShape{1, {77}, 656}}) {
      const WeightFixture weight(scheme, DType::kBF16, shape);
      const std::vector<float> x = random_floats(29 * shape.cols);
      for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 29}) {
        ASSERT_THAT(run(weight, x, tokens), ElementsAreArray(oracle(weight, x, tokens)))
            << scheme << ", " << shape.cols << " columns, " << tokens << " tokens";
      }
    }
  }
}

// The largest sums that int32 holds, and one beyond what half of it would.
TEST_P(IntegerLinearTest, extreme_codes_do_not_overflow) {
  const int64_t cols = 132'000;
  const WeightFixture weight("int8_per_channel", DType::kF32, {1, {5}, cols, 0, 0, 0.0f});
  auto* codes = const_cast<std::byte*>(tile_of(weight.view(), 0).data[0]);
  std::fill_n(codes, 5 * cols, std::byte{0x80});
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(static_cast<size_t>(10 * cols), sign);
    for (const int64_t tokens : {1, 10}) EXPECT_EQ(run(weight, x, tokens), oracle(weight, x, tokens));
  }
}

TEST_P(IntegerLinearTest, activations_of_any_size_have_the_oracles_codes) {
  const WeightFixture weight("int8_per_channel", DType::kBF16, {1, {9}, 300});
  for (const float factor : {0.0f, 1e-45f, 1e-37f, 1e-20f, 1e20f, 1e38f}) {
    std::vector<float> x = random_floats(600);
    for (float& value : x) value = std::clamp(value, -3.0f, 3.0f) * factor;
    ASSERT_THAT(run(weight, x, 2), ElementsAreArray(oracle(weight, x, 2))) << factor;
  }
}

TEST_P(IntegerLinearTest, halves_round_to_even) {
  const WeightFixture weight("int8_per_channel", DType::kBF16, {1, {4}, 9});
  const std::vector<float> x = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f};
  EXPECT_THAT(quantized(x.data(), 9).codes, ElementsAreArray({127, 0, 2, 2, 0, -2, -2, 126, -126}));
  EXPECT_EQ(run(weight, x, 1), oracle(weight, x, 1));
}

TEST_P(IntegerLinearTest, what_is_not_finite_makes_its_token_nan_and_no_other) {
  const WeightFixture weight("int8_per_channel", DType::kBF16, {1, {9}, 300});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random_floats(600);
    const std::vector<float> good(x.begin() + 300, x.end());
    x[299] = bad;
    const std::vector<float> y = run(weight, x, 2);
    EXPECT_THAT(std::vector<float>(y.begin(), y.begin() + 9), Each(testing::IsNan())) << bad;
    EXPECT_EQ(std::vector<float>(y.begin() + 9, y.end()), run(weight, good, 1)) << bad;
  }
}

TEST_P(IntegerLinearTest, products_with_groups_are_the_oracles_to_the_bit_for_any_number_of_tokens) {
  for (const char* scheme : {"int4_per_group", "int4_per_group:128", "int4_per_group@torchao-intx",
                             "int4_per_group:64@compressed-tensors"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      for (const WeightShape& shape :
           {WeightShape{1, {1}, 128}, WeightShape{1, {17, 6}, 384}, WeightShape{1, {9}, 128, 256, 512},
            WeightShape{1, {77}, 2432}, WeightShape{1, {16}, 8320}}) {
        const WeightFixture weight(scheme, dtype, shape);
        ASSERT_TRUE(takes_integers(weight.format()));
        const std::vector<float> x = random_floats(13 * shape.cols);
        for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 13}) {
          ASSERT_THAT(run(weight, x, tokens), ElementsAreArray(oracle(weight, x, tokens)))
              << scheme << ", " << shape.cols << " columns, " << tokens << " tokens";
        }
      }
    }
  }
}

TEST_P(IntegerLinearTest, groups_and_columns_need_not_fit_a_vector) {
  for (const char* scheme : {"int4_per_group:32", "int4_per_group:24@torchao-intx",
                             "int4_per_group:96@torchao-intx", "int4_per_group:256@torchao-intx"}) {
    for (const int64_t cols : {768, 1056, 1152}) {
      const WeightFixture weight(scheme, DType::kBF16, {1, {35}, cols});
      ASSERT_TRUE(takes_integers(weight.format()));
      const std::vector<float> x = random_floats(7 * cols);
      for (const int64_t tokens : {1, 2, 3, 7}) {
        ASSERT_THAT(run(weight, x, tokens), ElementsAreArray(oracle(weight, x, tokens)))
            << scheme << ", " << cols << " columns, " << tokens << " tokens";
      }
    }
  }
}

TEST_P(IntegerLinearTest, each_experts_groups_are_its_own) {
  const WeightFixture weight("int4_per_group", DType::kBF16, {3, {20}, 96});
  const std::vector<float> x = random_floats(96);
  for (int64_t matrix = 0; matrix < 3; ++matrix) {
    Compute compute(1, linear_scratch_floats(96));
    IntegerWorkspace integers;
    integers.resize(1, 96);
    std::vector<float> y(20);
    linear(weight.view(matrix), {x.data(), 1, y.data(), 20, nullptr, false, &integers}, compute);
    for (int64_t row = 0; row < 20; ++row) {
      const Token token = quantized(x.data(), 96);
      EXPECT_EQ(y[row], product_of(tile_of(weight.view(matrix), row), token) * token.scale);
    }
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(IntegerLinearTest, kTargets & ~HWY_AVX3_DL);

TEST(IntegerLinearThreads, do_not_change_a_bit) {
  for (const char* scheme : {"int8_per_channel", "int4_per_group"}) {
    const WeightFixture weight(scheme, DType::kBF16, {1, {700}, 640});
    for (const int64_t tokens : {1, 40}) {
      const std::vector<float> x = random_floats(tokens * 640);
      const std::vector<float> one = run(weight, x, tokens, 1);
      for (const int threads : {2, 3, 7}) EXPECT_EQ(run(weight, x, tokens, threads), one);
    }
  }
}

TEST(IntegerLinearFormats, are_symmetric_int8_with_one_scale_a_row_and_int4_with_one_a_group) {
  const auto takes = [](const char* scheme, int64_t cols) {
    return takes_integers(WeightFixture(scheme, DType::kBF16, {1, {2}, cols}).format());
  };
  EXPECT_TRUE(takes("int8_per_channel", 64));
  EXPECT_TRUE(takes("int8_per_tensor", 64));
  EXPECT_TRUE(takes("int8_per_channel", kMostIntegerCols));
  EXPECT_FALSE(takes("int8_per_channel", kMostIntegerCols + 1));
  EXPECT_TRUE(takes("int4_per_group", 64));
  for (const char* other :
       {"none", "int4_per_group@compressed-tensors-asymmetric", "int4_per_group@torchao-tinygemm",
        "fp8_per_channel", "fp8_per_tensor", "fp8_per_block"}) {
    EXPECT_FALSE(takes(other, 64)) << other;
  }
}

TEST(IntegerLinearFormats, other_weights_keep_their_exact_products) {
  for (const char* scheme : {"none", "int4_per_group@torchao-tinygemm", "fp8_per_channel"}) {
    const WeightFixture weight(scheme, DType::kBF16, {1, {20}, 96});
    const std::vector<float> x = random_floats(288);
    Compute compute(1, linear_scratch_floats(96));
    std::vector<float> exact(60);
    linear(weight.view(), {x.data(), 3, exact.data(), 20, nullptr, false}, compute);
    EXPECT_EQ(run(weight, x, 3), exact) << scheme;
  }
}

TEST(IntegerLinear, adds_the_bias_accumulates_and_writes_nothing_beyond_its_rows) {
  const WeightFixture weight("int8_per_channel", DType::kBF16, {1, {5}, 64});
  for (const int64_t tokens : {2, 12}) {
    const std::vector<float> x = random_floats(tokens * 64);
    const std::vector<float> bias = {1, 2, 3, 4, 5};
    const std::vector<float> plain = oracle(weight, x, tokens);
    Compute compute(1, linear_scratch_floats(64));
    IntegerWorkspace integers;
    integers.resize(tokens, 64);
    std::vector<float> y(static_cast<size_t>(tokens * 8), 10.0f);
    linear(weight.view(), {x.data(), tokens, y.data(), 8, bias.data(), true, &integers}, compute);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int i = 0; i < 5; ++i) EXPECT_EQ(y[t * 8 + i], 10.0f + (plain[t * 5 + i] + bias[i]));
      for (int i = 5; i < 8; ++i) EXPECT_EQ(y[t * 8 + i], 10.0f);
    }
  }
}

}  // namespace
}  // namespace liveweight
