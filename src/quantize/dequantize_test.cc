#include <gtest/gtest.h>

#include <cstring>

#include "quantize/quantize.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

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
}  // namespace liveweight
