#include <gtest/gtest.h>

#include <cstring>

#include "quantize/random_matrix.h"
#include "quantize/unit_layout.h"

namespace liveweight::testing {
namespace {

std::optional<std::vector<std::byte>> quantized(const Matrix& matrix, const KernelFormat& format) {
  std::vector<std::byte> slot(format.bytes);
  for (const Segment& segment : format.segments) {
    const SlotRegion region{&format, slot.data(), 0, segment};
    if (quantize_box(box_of(matrix), region, tensor_unit_of(matrix))) return std::nullopt;
  }
  return slot;
}

// Units lie over the tensor, not over what a rank keeps of it.
TEST(Dequantize, GivesARanksPartTheNumbersThatItHasInTheWhole) {
  Random random(6);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      const Scheme scheme = parse_scheme(name).value();
      const Matrix matrix = draw_matrix(random, dtype, false);
      CutShape cut = draw_cut(random, matrix);
      Segment first = cut.segments[0], second = first;
      first.rows = up_to(random, first.rows);
      second.row = first.rows, second.rows -= first.rows, second.source_row += first.rows;
      cut.segments = {first, second};
      const KernelFormat part = make_kernel_format(scheme, dtype, cut);
      const KernelFormat whole =
          make_kernel_format(scheme, dtype, {1, matrix.cols, 0, matrix.cols, {{0, matrix.rows, 0, 0}}});
      const auto part_slot = quantized(matrix, part), whole_slot = quantized(matrix, whole);
      if (!whole_slot) continue;
      ASSERT_TRUE(part_slot);
      std::vector<float> got(static_cast<size_t>(part.cols)), expected(static_cast<size_t>(matrix.cols));
      for (int64_t row = 0; row < part.rows; ++row) {
        dequantize_row(part, part_slot->data(), 0, row, got.data());
        dequantize_row(whole, whole_slot->data(), 0, first.source_row + row, expected.data());
        ASSERT_EQ(std::memcmp(got.data(), expected.data() + part.source_col, got.size() * sizeof(float)), 0)
            << name << " of " << to_string(dtype) << ", row " << row;
      }
    }
  }
}

// Checkpoints that are quantized already bring a scale with each of the tensors that a matrix is fused from.
TEST(Dequantize, TakesForEachRowTheScaleOfTheTensorThatItCameFrom) {
  const Scheme scheme = parse_scheme("int8_per_tensor").value();
  const KernelFormat format = make_stored_format(scheme, DType::kF32, std::nullopt, true,
                                                 {2, 3, 0, 3, {{0, 2, 0, 0}, {2, 1, 0, 0}, {3, 2, 0, 0}}});
  std::vector<std::byte> slot(format.bytes, std::byte{1});
  const auto scale_of = [](int64_t matrix, int64_t segment) {
    return static_cast<float>(10 * matrix + segment + 1);
  };
  for (int64_t matrix = 0; matrix < 2; ++matrix) {
    for (int64_t segment = 0; segment < 3; ++segment) {
      const float scale = scale_of(matrix, segment);
      std::memcpy(slot.data() + row_offset(format.scale, matrix, segment), &scale, sizeof scale);
    }
  }
  const int64_t segment_of_row[] = {0, 0, 1, 2, 2};
  for (int64_t matrix = 0; matrix < 2; ++matrix) {
    for (int64_t row = 0; row < format.rows; ++row) {
      float values[3];
      dequantize_row(format, slot.data(), matrix, row, values);
      for (const float value : values) EXPECT_EQ(value, scale_of(matrix, segment_of_row[row])) << row;
    }
  }
}

}  // namespace
}  // namespace liveweight::testing
