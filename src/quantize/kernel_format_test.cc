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

}  // namespace
}  // namespace liveweight::testing
