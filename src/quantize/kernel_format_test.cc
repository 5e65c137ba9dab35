#include "quantize/kernel_format.h"

#include <gtest/gtest.h>

#include "quantize/random_matrix.h"

namespace liveweight::testing {
namespace {

TEST(KernelFormat, PartsFollowOneAnotherEachFromAMultipleOf64Bytes) {
  Random random(12);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      const int64_t cols = 1 + up_to(random, 300), matrices = 1 + up_to(random, 3);
      const KernelFormat format = make_kernel_format(parse_scheme(name).value(), dtype,
                                                     {matrices, cols, 0, cols, {{0, 7, 0, 0}, {7, 4, 0, 0}}});
      EXPECT_EQ(format.data.rows, 11);
      if (format.scheme.element == Element::kInt4) {
        EXPECT_EQ(format.data.row_bytes % 4, 0) << name;
      }
      uint64_t end = 0;
      for (const Part* part : {&format.data, &format.scale, &format.zero_point}) {
        if (part->bytes == 0) continue;
        EXPECT_EQ(part->offset % 64, 0u) << name;
        EXPECT_GE(part->offset, end) << name;
        EXPECT_EQ(part->bytes, static_cast<uint64_t>(matrices * part->rows * part->row_bytes)) << name;
        end = part->offset + part->bytes;
      }
      EXPECT_GE(format.bytes, end) << name;
    }
  }
}

TEST(KernelFormat, AMatrixOfOneScaleHasItForAllOfItsSegments) {
  const Scheme scheme = parse_scheme("int8_per_tensor").value();
  const KernelFormat format = make_stored_format(scheme, DType::kF32, std::nullopt, false,
                                                 {1, 8, 0, 8, {{0, 7, 0, 0}, {7, 4, 0, 0}}});
  EXPECT_EQ(format.scale.rows, 1);
  for (const Segment& segment : format.segments) EXPECT_EQ(segment.scale_row, 0);
}

TEST(KernelFormat, AStoredScaleForEachSegmentIsARowForEach) {
  const Scheme scheme = parse_scheme("int8_per_tensor").value();
  const KernelFormat format =
      make_stored_format(scheme, DType::kF32, std::nullopt, true, {1, 8, 0, 8, {{0, 7, 0, 0}, {7, 4, 0, 0}}});
  EXPECT_EQ(format.scale.rows, 2);
  EXPECT_EQ(format.segments[1].scale_row, 1);
}

TEST(KernelFormat, ASegmentThatBeginsInsideABlockHasAScaleForEachBlockThatItTouches) {
  const Scheme scheme = parse_scheme("fp8_per_block").value();
  const KernelFormat format =
      make_kernel_format(scheme, DType::kBF16, {1, 8, 0, 8, {{0, 128, 64, 0}, {128, 2, 127, 0}}});
  EXPECT_EQ(format.segments[1].scale_row, 2);
  EXPECT_EQ(format.scale.rows, 4);
}

}  // namespace
}  // namespace liveweight::testing
