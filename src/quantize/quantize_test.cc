// The vectorised quantizers against the oracle, to the bit: random shapes, cuts, values and faults, on every
// instruction set of this machine.
#include "quantize/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "quantize/random_matrix.h"
#include "quantize/unpack_int4.h"

namespace liveweight::testing {
namespace {

struct Result {
  std::vector<std::byte> slot;
  std::optional<QuantizeFault> fault;
};

Result run(decltype(&quantize_box) function, const Matrix& matrix, const KernelFormat& format,
           const TensorUnit& unit) {
  Result result;
  result.slot.assign(format.bytes + 64, std::byte{0xaa});
  const SlotRegion region{&format, result.slot.data(), 0, format.segments[0]};
  result.fault = function(box_of(matrix), region, unit);
  return result;
}

void expect_equal(const Matrix& matrix, const KernelFormat& format) {
  SCOPED_TRACE(to_string(format.scheme) + " of " + std::string(to_string(matrix.dtype)) + " [" +
               std::to_string(matrix.rows) + ", " + std::to_string(matrix.cols) + "] as " +
               std::string(to_string(format.data.dtype)));
  const SourceBox box = box_of(matrix);
  const AmaxResult expected_maximum = absolute_maximum_reference(box), maximum = absolute_maximum(box);
  EXPECT_EQ(maximum.amax, expected_maximum.amax);
  ASSERT_EQ(maximum.fault.has_value(), expected_maximum.fault.has_value());
  const TensorUnit unit{maximum.amax, element(matrix, matrix.rows * matrix.cols - 1)};
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

void expect_equal(const Matrix& matrix, const Scheme& scheme, const CutShape& cut) {
  expect_equal(matrix, make_kernel_format(scheme, matrix.dtype, cut));
  if (scheme.element == Element::kInt4) expect_equal(matrix, make_unpacked_format(scheme, matrix.dtype, cut));
}

class QuantizeTest : public TargetTest {};

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

// All bits of a 16-bit dtype whose magnitudes are in that range, as the elements of one row.
Matrix matrix_of_all_numbers(DType dtype, float least, float largest) {
  Matrix matrix = zeros(dtype, 1, 1 << 16);
  for (int bits = 0; bits < 1 << 16; ++bits) {
    const uint16_t element = static_cast<uint16_t>(bits);
    std::memcpy(matrix.data.data() + 2 * bits, &element, 2);
    const float x = std::fabs(load_high_precision(dtype, matrix.data.data(), bits));
    if (!(x >= least && x <= largest)) store_high_precision(dtype, matrix.data.data(), bits, largest);
  }
  return matrix;
}

// Scales with and without quotients half-way between codes; with and without numbers too small for a code.
TEST_P(QuantizeTest, EveryFiniteNumberOfSixteenBitsIsEncodedAsTheOracleDoes) {
  for (const std::string& name : kSchemes) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const float largest : {448.0f, 127.0f, 3.7f}) {
        for (const float least : {0.0f, largest / 16384}) {
          expect_equal(matrix_of_all_numbers(dtype, least, largest), parse_scheme(name).value(),
                       {1, 1 << 16, 0, 1 << 16, {{0, 1, 0, 0}}});
        }
      }
    }
  }
}

// Rows of tiles and tiles of rows, each cut at random, in the matrix's own memory.
std::vector<SourceBox> draw_boxes(Random& random, const Matrix& matrix, const Tile& tile) {
  const auto cut = [&](int64_t size, int64_t step) {
    return std::min(size, (1 + up_to(random, size / step / 2 + 1)) * step);
  };
  std::vector<SourceBox> boxes;
  for (int64_t row = 0; row < matrix.rows;) {
    const int64_t rows = cut(matrix.rows - row, tile.rows);
    for (int64_t col = 0; col < matrix.cols;) {
      const int64_t cols = cut(matrix.cols - col, tile.cols);
      boxes.push_back(box_of(matrix, row, rows, col, cols));
      col += cols;
    }
    row += rows;
  }
  std::shuffle(boxes.begin(), boxes.end(), random);
  return boxes;
}

TEST_P(QuantizeTest, BoxesOfWholeUnitsGiveWhatTheWholeMatrixGives) {
  Random random(4);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    for (const DType dtype : kDTypes) {
      const Matrix matrix = draw_matrix(random, dtype, false);
      const KernelFormat format = make_kernel_format(scheme, dtype, draw_cut(random, matrix));
      const TensorUnit unit = tensor_unit_of(matrix);
      const Result whole = run(quantize_box_reference, matrix, format, unit);
      if (whole.fault) continue;
      std::vector<std::byte> slot(whole.slot.size(), std::byte{0xaa});
      float amax = 0;
      for (const SourceBox& box : draw_boxes(random, matrix, tile_of(scheme, matrix))) {
        ASSERT_FALSE(quantize_box(box, {&format, slot.data(), 0, format.segments[0]}, unit));
        amax = std::max(amax, absolute_maximum(box).amax);
      }
      EXPECT_EQ(slot, whole.slot) << name << " of " << to_string(dtype);
      EXPECT_EQ(amax, unit.amax);
    }
  }
}

TEST_P(QuantizeTest, AFaultAnywhereInTheBoxIsFoundWhateverTheRankKeeps) {
  constexpr int64_t kRows = 3, kCols = 150;
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      Matrix matrix = zeros(dtype, kRows, kCols);
      for (int64_t i = 0; i < kRows * kCols; ++i) store_high_precision(dtype, matrix.data.data(), i, 1);
      const KernelFormat format =
          make_kernel_format(parse_scheme(name).value(), dtype, {1, 77, 40, kCols, {{0, 1, 1, 0}}});
      for (int64_t i = 0; i < kRows * kCols; i += 1 + i % 7) {
        store_high_precision(dtype, matrix.data.data(), i, INFINITY);
        const Result got = run(quantize_box, matrix, format, {1, 1});
        ASSERT_TRUE(got.fault) << name << " at " << i;
        EXPECT_EQ(got.fault->row * kCols + got.fault->col, i) << name;
        store_high_precision(dtype, matrix.data.data(), i, 1);
      }
    }
  }
}

// Every magnitude from the largest, 2^exponent, down to a 2^-24th of it, either way.
Matrix matrix_of_magnitudes(DType dtype, int exponent) {
  Matrix matrix = zeros(dtype, 8, 1088);
  for (int i = 0; i < 8 * 1088; ++i) {
    const float mantissa = 1 + static_cast<float>(i * 37 % 128) / 128;
    const float x = std::ldexp(i % 2 ? mantissa : -mantissa, exponent - 1 - i % 25);
    store_high_precision(dtype, matrix.data.data(), i, x);
  }
  return matrix;
}

void expect_equal(const Matrix& matrix, const Scheme& scheme) {
  expect_equal(matrix, scheme, {1, matrix.cols, 0, matrix.cols, {{0, matrix.rows, 0, 0}}});
}

TEST_P(QuantizeTest, Fp8OfTinyAndOfHugeScalesIsTheOraclesToo) {
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    if (scheme.element != Element::kE4M3) continue;
    for (const int exponent : {-124, -119, -116, 115, 127}) {
      expect_equal(matrix_of_magnitudes(DType::kBF16, exponent), scheme);
    }
  }
}

TEST_P(QuantizeTest, OneUnitMayHoldMagnitudesThatLieFarApart) {
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      for (const int exponent : {15, 3, 0, -6, -9, -10, -12, -14}) {
        expect_equal(matrix_of_magnitudes(dtype, exponent), parse_scheme(name).value());
      }
    }
  }
}

// Rows of positive numbers, of negative ones and of both, then the same with zeros of either sign.
TEST_P(QuantizeTest, UnitsWhoseElementsHaveOneSignAreTheOraclesToo) {
  constexpr int64_t kRows = 6, kCols = 1056;
  Random random(8);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      Matrix matrix = zeros(dtype, kRows, kCols);
      for (int64_t i = 0; i < kRows * kCols; ++i) {
        const int64_t row = i / kCols;
        const bool zero = row >= 3 && chance(random, 9);
        const bool negative = zero || row % 3 == 2 ? chance(random, 2) : row % 3 == 1;
        const float x = zero ? 0.0f : 0.01f + static_cast<float>(up_to(random, 1000)) * 0.001f;
        store_high_precision(dtype, matrix.data.data(), i, negative ? -x : x);
      }
      expect_equal(matrix, parse_scheme(name).value());
    }
  }
}

TEST_P(QuantizeTest, Int4CodesOfAByteEachAreThePackedOnesSpreadOut) {
  Random random(10);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    if (scheme.element != Element::kInt4) continue;
    for (const DType dtype : kDTypes) {
      const Matrix matrix = draw_matrix(random, dtype, false);
      const CutShape cut = draw_cut(random, matrix);
      const KernelFormat packed = make_kernel_format(scheme, dtype, cut);
      const KernelFormat unpacked = make_unpacked_format(scheme, dtype, cut);
      const Result expected = run(quantize_box, matrix, packed, {}),
                   got = run(quantize_box, matrix, unpacked, {});
      ASSERT_EQ(got.fault.has_value(), expected.fault.has_value());
      if (got.fault) continue;
      std::vector<std::byte> codes(unpacked.data.bytes);
      unpack_int4({expected.slot.data(), packed.rows, packed.cols, packed.data.row_bytes}, codes.data());
      EXPECT_TRUE(std::equal(codes.begin(), codes.end(), got.slot.begin())) << name;
      std::vector<float> row(static_cast<size_t>(packed.cols)), other(row.size());
      dequantize_row(packed, expected.slot.data(), 0, packed.rows - 1, row.data());
      dequantize_row(unpacked, got.slot.data(), 0, packed.rows - 1, other.data());
      EXPECT_EQ(std::memcmp(row.data(), other.data(), row.size() * sizeof(float)), 0) << name;
    }
  }
}

// Some of them zeros; then with an element that is not finite.
TEST_P(QuantizeTest, ShortRowsThatFollowOneAnotherAreTheOraclesToo) {
  Random random(9);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      for (const int64_t cols : {16, 32, 64, 96, 128, 512}) {
        Matrix matrix = zeros(dtype, 1 + up_to(random, 150), cols);
        for (int64_t i = 0; i < matrix.rows * cols; ++i) {
          const float x = 0.01f * static_cast<float>(up_to(random, 2000)) - 10;
          store_high_precision(dtype, matrix.data.data(), i, i / cols % 11 == 5 ? 0 : x);
        }
        expect_equal(matrix, parse_scheme(name).value());
        const int64_t last = up_to(random, matrix.rows * cols - 1);
        store_high_precision(dtype, matrix.data.data(), last, INFINITY);
        expect_equal(matrix, parse_scheme(name).value());
      }
    }
  }
}

// Kept whole, and from a group's beginning to the middle of another.
TEST_P(QuantizeTest, RowsOfMoreGroupsThanAreDoneAtOnceAreTheOraclesToo) {
  constexpr int64_t kRows = 2;
  Random random(11);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      for (const int64_t cols : {2080, 2240}) {
        Matrix matrix = zeros(dtype, kRows, cols);
        for (int64_t i = 0; i < kRows * cols; ++i) {
          const float x = 0.01f * static_cast<float>(up_to(random, 2000)) - 10;
          store_high_precision(dtype, matrix.data.data(), i, x);
        }
        const Scheme scheme = parse_scheme(name).value();
        expect_equal(matrix, scheme);
        if (scheme.granularity != Granularity::kGroup) continue;
        expect_equal(matrix, scheme, {1, cols - 128 - 24, 128, cols, {{0, kRows, 0, 0}}});
      }
    }
  }
}

// Rows of numbers next to those whose quotient is half-way between two codes.
TEST_P(QuantizeTest, QuotientsNextToTiesAreRoundedAsTheOraclesAre) {
  constexpr int64_t kRows = 64, kCols = 192;
  Random random(7);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      Matrix matrix = zeros(dtype, kRows, kCols);
      for (int64_t row = 0; row < kRows; ++row) {
        const float scale = std::ldexp(1 + static_cast<float>(up_to(random, (1 << 23) - 1)) * 0x1p-23f,
                                       static_cast<int>(up_to(random, 8)) - 12);
        for (int64_t col = 0; col < kCols; ++col) {
          const float tie = std::ldexp(static_cast<float>(17 + 2 * up_to(random, 7)),
                                       static_cast<int>(up_to(random, 8)) - 5);
          const float near = std::nextafter(tie * scale, chance(random, 2) ? 0.0f : 500 * scale);
          const float x = col % 32 == 0 ? 448 * scale : chance(random, 2) ? tie * scale : near;
          store_high_precision(dtype, matrix.data.data(), row * kCols + col, chance(random, 2) ? x : -x);
        }
      }
      expect_equal(matrix, parse_scheme(name).value());
    }
  }
}

// Integers from -15 to 15 times a number, where every second one is half-way between two codes of an offset,
// exactly or as far from it as the scale was rounded.
TEST_P(QuantizeTest, GroupsFullOfTiesAreTheOraclesToo) {
  constexpr int64_t kRows = 64, kCols = 1088;
  Random random(9);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      Matrix matrix = zeros(dtype, kRows, kCols);
      for (int64_t i = 0; i < kRows * kCols; ++i) {
        const auto times = static_cast<float>(1 + i / kCols % 16);
        const auto number = static_cast<float>(i % 32 < 2 ? 15 * (2 * (i % 2) - 1) : up_to(random, 30) - 15);
        store_high_precision(dtype, matrix.data.data(), i, times * number);
      }
      expect_equal(matrix, parse_scheme(name).value());
    }
  }
}

// Four blocks of ones, the right two of 64 columns, but for the very last element, which is an 8.
Matrix four_blocks() {
  constexpr int64_t kRows = 256, kCols = 192;
  Matrix matrix = zeros(DType::kBF16, kRows, kCols);
  for (int64_t i = 0; i < kRows * kCols; ++i) store_high_precision(DType::kBF16, matrix.data.data(), i, 1);
  store_high_precision(DType::kBF16, matrix.data.data(), kRows * kCols - 1, 8);
  return matrix;
}

TEST_P(QuantizeTest, TheLastElementCountsInBlocksThatAnEdgeCutsAndInNoOther) {
  const Matrix matrix = four_blocks();
  const KernelFormat format = make_kernel_format(parse_scheme("fp8_per_block@nemo").value(), DType::kBF16,
                                                 {1, 192, 0, 192, {{0, 256, 0, 0}}});
  for (const auto function : {quantize_box, quantize_box_reference}) {
    const Result result = run(function, matrix, format, {8, 8});
    float scales[4];
    std::memcpy(scales, result.slot.data() + format.scale.offset, sizeof scales);
    EXPECT_EQ(scales[0], 1 / 448.0f);
    EXPECT_EQ(scales[1], 8 / 448.0f);
    EXPECT_EQ(scales[2], 1 / 448.0f);
    EXPECT_EQ(scales[3], 8 / 448.0f);
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(QuantizeTest, testing::kTargets);

}  // namespace
}  // namespace liveweight::testing
