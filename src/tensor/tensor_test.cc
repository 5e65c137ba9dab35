#include "liveweight/tensor.h"

#include <gtest/gtest.h>

namespace liveweight {
namespace {

TEST(DType, EveryNameComesBack) {
  for (int i = 0; i < 20; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_string("bf16"), std::nullopt);
}

TEST(DType, BitsThatAreNotWholeBytesHaveNoSize) {
  EXPECT_EQ(bytes_of(DType::kF4, 3), std::nullopt);
  EXPECT_EQ(bytes_of(DType::kF4, 4), 2u);
  EXPECT_EQ(bytes_of(DType::kF6E2M3, 4), 3u);
  EXPECT_EQ(bytes_of(DType::kF32, UINT64_MAX / 4), std::nullopt);
}

TEST(Shape, RankZeroHoldsOneElement) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({3, 0, 2}), 0);
  EXPECT_EQ(to_string(Shape{64, 172}), "[64, 172]");
}

}  // namespace
}  // namespace liveweight
