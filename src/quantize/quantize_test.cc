// The vectorised quantizers against the oracle, to the bit: random shapes, cuts, values and faults, on every
// instruction set of this machine.
#include "quantize/quantize.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr DType kDTypes[] = {DType::kBF16, DType::kF16, DType::kF32};
const std::vector<std::string> kSchemes = {
    "none",
    "int8_per_channel@torchao",
    "int8_per_channel@torchao-intx",
    "int8_per_channel@compressed-tensors",
    "int8_per_channel@vllm",
    "int8_per_tensor",
    "int4_per_group:32@torchao",
    "int4_per_group:128@torchao",
    "int4_per_group:32@torchao-tinygemm",
    "int4_per_group:32@torchao-intx",
    "int4_per_group:48@compressed-tensors",
    "int4_per_group:32@compressed-tensors-asymmetric",
    "int4_per_group:7@torchao",
    "fp8_per_tensor@torchao",
    "fp8_per_tensor@compressed-tensors",
    "fp8_per_tensor@vllm",
    "fp8_per_channel@torchao",
    "fp8_per_channel@compressed-tensors",
    "fp8_per_channel@vllm",
    "fp8_per_channel@torchao-fused",
    "fp8_per_block@prime-rl",
    "fp8_per_block@slime",
    "fp8_per_block@nemo",
    "fp8_per_block@verl",
    "fp8_per_block@vllm",
};

using Random = std::mt19937_64;

int64_t up_to(Random& random, int64_t limit) {
  return std::uniform_int_distribution<int64_t>(0, limit)(random);
}

bool chance(Random& random, int one_in) {
  return up_to(random, one_in - 1) == 0;
}

// Numbers of one magnitude, any finite bits, exact ties, or all the same: what weights and accidents look
// like.
float draw(Random& random, int kind, float magnitude) {
  std::normal_distribution<float> normal(0, magnitude);
  switch (kind) {
    case 0:
      return normal(random);
    case 1: {
      const auto bits = static_cast<uint32_t>(random());
      const float value = std::bit_cast<float>(bits);
      return std::isfinite(value) ? value : 0.0f;
    }
    case 2:
      return static_cast<float>(up_to(random, 30) - 15) * 0.5f * magnitude;
    case 3:
      return chance(random, 2) ? 0.0f : -0.0f;
    default:
      return chance(random, 50) ? normal(random) : 0.0f;
  }
}

struct Matrix {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> data;
};

Matrix draw_matrix(Random& random, DType dtype, bool with_faults) {
  Matrix matrix{dtype, 1 + up_to(random, 300), 1 + up_to(random, 700), {}};
  matrix.data.resize(static_cast<size_t>(matrix.rows * matrix.cols * bits_of(dtype) / 8));
  const float magnitude = std::ldexp(1.0f, static_cast<int>(up_to(random, 60)) - 40);
  const int whole = static_cast<int>(up_to(random, 9));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    const int kind = whole < 5 ? whole : static_cast<int>(up_to(random, 4));
    for (int64_t col = 0; col < matrix.cols; ++col) {
      const float x = draw(random, kind, magnitude);
      const bool fits = std::isfinite(round_to(dtype, x));
      store_high_precision(dtype, matrix.data.data(), row * matrix.cols + col, fits ? x : 1.0f);
    }
  }
  if (with_faults) {
    const float faults[] = {INFINITY, -INFINITY, NAN, -NAN};
    store_high_precision(dtype, matrix.data.data(), up_to(random, matrix.rows * matrix.cols - 1),
                         faults[up_to(random, 3)]);
  }
  return matrix;
}

// A rank's part of the matrix, any rows and columns of it.
CutShape draw_cut(Random& random, const Matrix& matrix) {
  const bool whole = chance(random, 2);
  const int64_t row = whole ? 0 : up_to(random, matrix.rows - 1);
  const int64_t rows = whole ? matrix.rows : 1 + up_to(random, matrix.rows - row - 1);
  const int64_t col = whole ? 0 : up_to(random, matrix.cols - 1);
  const int64_t cols = whole ? matrix.cols : 1 + up_to(random, matrix.cols - col - 1);
  return {1, cols, col, matrix.cols, {{0, rows, row, 0}}};
}

struct Result {
  std::vector<std::byte> slot;
  std::optional<QuantizeFault> fault;
};

Result run(decltype(&quantize_box) function, const Matrix& matrix, const KernelFormat& format,
           const TensorUnit& unit) {
  Result result;
  result.slot.assign(format.bytes + 64, std::byte{0xaa});
  const SourceBox box{matrix.dtype, matrix.data.data(), matrix.cols, 0, matrix.rows, 0, matrix.cols};
  const SlotRegion region{&format, result.slot.data(), 0, format.segments[0]};
  result.fault = function(box, region, unit);
  return result;
}

void expect_equal(const Matrix& matrix, const Scheme& scheme, CutShape cut) {
  SCOPED_TRACE(to_string(scheme) + " of " + std::string(to_string(matrix.dtype)) + " [" +
               std::to_string(matrix.rows) + ", " + std::to_string(matrix.cols) + "]");
  const KernelFormat format = make_kernel_format(scheme, matrix.dtype, std::move(cut));
  const SourceBox box{matrix.dtype, matrix.data.data(), matrix.cols, 0, matrix.rows, 0, matrix.cols};
  const AmaxResult expected_maximum = absolute_maximum_reference(box), maximum = absolute_maximum(box);
  EXPECT_EQ(maximum.amax, expected_maximum.amax);
  ASSERT_EQ(maximum.fault.has_value(), expected_maximum.fault.has_value());
  const TensorUnit unit{maximum.amax,
                        load_high_precision(matrix.dtype, matrix.data.data(), matrix.rows * matrix.cols - 1)};
  const Result expected = run(quantize_box_reference, matrix, format, unit);
  const Result got = run(quantize_box, matrix, format, unit);
  ASSERT_EQ(got.fault.has_value(), expected.fault.has_value());
  if (expected.fault) {
    EXPECT_EQ(got.fault->row, expected.fault->row);
    EXPECT_EQ(got.fault->col, expected.fault->col);
    EXPECT_EQ(got.fault->scale_overflow, expected.fault->scale_overflow);
    return;
  }
  const auto difference = std::mismatch(expected.slot.begin(), expected.slot.end(), got.slot.begin());
  EXPECT_TRUE(difference.first == expected.slot.end())
      << "the first byte that differs is " << difference.first - expected.slot.begin() << " of "
      << format.bytes << "; scales begin at " << format.scale.offset;
}

class QuantizeTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

TEST_P(QuantizeTest, EveryBitIsTheOracles) {
  Random random(1);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    for (const DType dtype : kDTypes) {
      for (int round = 0; round < 4; ++round) {
        const Matrix matrix = draw_matrix(random, dtype, false);
        expect_equal(matrix, scheme, draw_cut(random, matrix));
      }
    }
  }
}

TEST_P(QuantizeTest, TheFirstElementThatIsNotFiniteIsNamedAsTheOracleNamesIt) {
  Random random(2);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    for (const DType dtype : kDTypes) {
      const Matrix matrix = draw_matrix(random, dtype, true);
      expect_equal(matrix, scheme, draw_cut(random, matrix));
    }
  }
}

// All bits of a 16-bit dtype that are finite, as the elements of one row whose scale is near one.
TEST_P(QuantizeTest, EveryFiniteNumberOfSixteenBitsIsEncodedAsTheOracleDoes) {
  Random random(3);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const float largest : {448.0f, 127.0f, 3.7f}) {
        Matrix matrix{dtype, 1, 1 << 16, {}};
        matrix.data.resize(2 << 16);
        for (int bits = 0; bits < 1 << 16; ++bits) {
          const uint16_t element = static_cast<uint16_t>(bits);
          std::memcpy(matrix.data.data() + 2 * bits, &element, 2);
          const float x = load_high_precision(dtype, matrix.data.data(), bits);
          if (!(std::fabs(x) <= largest)) store_high_precision(dtype, matrix.data.data(), bits, largest);
        }
        expect_equal(matrix, scheme, {1, matrix.cols, 0, matrix.cols, {{0, 1, 0, 0}}});
      }
    }
  }
}

std::vector<int64_t> targets() {
  std::vector<int64_t> all;
  for (int64_t rest = hwy::SupportedTargets() & (HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_NEON); rest;
       rest &= rest - 1) {
    all.push_back(rest & -rest);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Targets, QuantizeTest, ::testing::ValuesIn(targets()),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(QuantizeTest);

}  // namespace
}  // namespace liveweight
