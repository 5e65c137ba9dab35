#include "infer/linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "infer/weight_fixture.h"

namespace liveweight {
namespace {

using testing::Each;
using testing::ElementsAreArray;

struct Case {
  std::string scheme;
  DType dtype;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.scheme << " of " << to_string(c.dtype);
}

std::vector<Case> all_formats() {
  std::vector<Case> cases = {{"none", DType::kF32}, {"none", DType::kF16}};
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const char* scheme :
         {"int8_per_channel", "int8_per_tensor@compressed-tensors", "int4_per_group:32",
          "int4_per_group:16@torchao", "int4_per_group:32@torchao-intx", "int4_per_group:32@torchao-tinygemm",
          "int4_per_group:128@compressed-tensors-asymmetric", "fp8_per_tensor", "fp8_per_channel",
          "fp8_per_block"}) {
      cases.push_back({scheme, dtype});
    }
  }
  cases.push_back({"none", DType::kBF16});
  return cases;
}

const std::vector<WeightShape>& shapes() {
  static const std::vector<WeightShape> shapes = {
      {1, {1}, 1},           {1, {3}, 7},
      {1, {5, 2}, 33},       {2, {130, 6}, 172},
      {1, {64}, 256},        {1, {9}, 150, 75, 300},
      {3, {7}, 40, 24, 172}, {1, {200, 70}, 129, 129, 387},
  };
  return shapes;
}

std::vector<float> run_linear(const WeightView& weight, const std::vector<float>& x, int64_t tokens) {
  Compute compute(3, linear_scratch_floats(weight.format->cols));
  std::vector<float> y(static_cast<size_t>(tokens * weight.format->rows));
  linear(weight, {x.data(), tokens, y.data(), weight.format->rows, nullptr, false}, compute);
  return y;
}

class LinearTest : public testing::TestWithParam<Case> {};

TEST_P(LinearTest, equals_the_product_with_dequantized_weights) {
  for (const WeightShape& shape : shapes()) {
    const WeightFixture weight(GetParam().scheme, GetParam().dtype, shape);
    const KernelFormat& format = weight.format();
    const std::vector<float> x = random_floats(7 * format.cols);
    for (int64_t matrix = 0; matrix < format.matrices; ++matrix) {
      for (const int64_t tokens : {1, 2, 3, 4, 7}) {
        const std::vector<float> y = run_linear(weight.view(matrix), x, tokens);
        for (int64_t row = 0; row < format.rows; ++row) {
          const std::vector<float> values = weight.row(matrix, row);
          for (int64_t t = 0; t < tokens; ++t) {
            double sum = 0;
            double magnitude = 1e-30;
            for (int64_t col = 0; col < format.cols; ++col) {
              const double term = double{values[col]} * x[t * format.cols + col];
              sum += term;
              magnitude += std::fabs(term);
            }
            ASSERT_NEAR(y[t * format.rows + row], sum, 2e-6 * magnitude)
                << "row " << row << " of " << format.rows << ", " << format.cols << " columns, token " << t;
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, rows_decode_to_the_oracles_bits) {
  for (const WeightShape& shape : shapes()) {
    const WeightFixture weight(GetParam().scheme, GetParam().dtype, shape);
    std::vector<float> out(static_cast<size_t>(shape.cols));
    for (int64_t matrix = 0; matrix < shape.matrices; ++matrix) {
      for (int64_t row = 0; row < weight.format().rows; ++row) {
        dequantize_weight_row(weight.view(matrix), row, out.data());
        ASSERT_THAT(out, ElementsAreArray(weight.row(matrix, row)))
            << "row " << row << " of " << shape.cols << " columns";
      }
    }
  }
}

TEST_P(LinearTest, a_token_has_the_same_bits_alone_and_in_a_batch) {
  const WeightShape shape{1, {40, 31}, 172, 172, 344};
  const WeightFixture weight(GetParam().scheme, GetParam().dtype, shape);
  const int64_t rows = weight.format().rows;
  const std::vector<float> x = random_floats(9 * shape.cols);
  const std::vector<float> together = run_linear(weight.view(), x, 9);
  for (int64_t t = 0; t < 9; ++t) {
    const std::vector<float> alone =
        run_linear(weight.view(), {x.begin() + t * shape.cols, x.begin() + (t + 1) * shape.cols}, 1);
    ASSERT_THAT(alone, ElementsAreArray(together.begin() + t * rows, together.begin() + (t + 1) * rows));
  }
}

INSTANTIATE_TEST_SUITE_P(formats, LinearTest, testing::ValuesIn(all_formats()), [](const auto& info) {
  std::string name = info.param.scheme + "_" + std::string(to_string(info.param.dtype));
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

TEST(LinearTest, adds_the_bias_and_accumulates) {
  const WeightFixture weight("none", DType::kF32, {1, {6}, 20});
  Compute compute(2, linear_scratch_floats(20));
  const std::vector<float> x = random_floats(20);
  const std::vector<float> bias = {1, 2, 3, 4, 5, 6};
  std::vector<float> plain(6);
  std::vector<float> y(6, 10.0f);
  linear(weight.view(), {x.data(), 1, plain.data(), 6, nullptr, false}, compute);
  linear(weight.view(), {x.data(), 1, y.data(), 6, bias.data(), true}, compute);
  for (int i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(y[i], 10.0f + (plain[i] + bias[i]));
}

TEST(LinearTest, writes_nothing_beyond_its_rows) {
  const WeightFixture weight("int8_per_channel", DType::kBF16, {1, {5}, 64});
  Compute compute(1, linear_scratch_floats(64));
  const std::vector<float> x = random_floats(6 * 64);
  std::vector<float> y(6 * 8, -1.0f);
  linear(weight.view(), {x.data(), 6, y.data(), 8, nullptr, false}, compute);
  for (int t = 0; t < 6; ++t)
    EXPECT_THAT(std::vector<float>(y.begin() + t * 8 + 5, y.begin() + t * 8 + 8), Each(-1.0f));
}

}  // namespace
}  // namespace liveweight
