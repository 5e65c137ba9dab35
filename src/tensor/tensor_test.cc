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

TEST(ShapeTest, HoldsExtentsOfAnyRankAndComparesThem) {
  Shape shape;
  EXPECT_TRUE(shape.empty());
  for (int64_t rank = 1; rank <= 9; ++rank) {
    const Shape before = shape;
    shape.push_back(10 * rank);
    ASSERT_EQ(shape.size(), static_cast<size_t>(rank));
    for (int64_t i = 0; i < rank; ++i) EXPECT_EQ(shape[i], 10 * (i + 1));
    EXPECT_EQ(shape.back(), 10 * rank);
    EXPECT_FALSE(shape == before);
    Shape copy = shape;
    EXPECT_EQ(copy, shape);
    copy[rank - 1] = 0;
    EXPECT_FALSE(copy == shape);
    EXPECT_EQ(Shape(std::span(std::as_const(shape))), shape);
  }
  EXPECT_EQ(Shape(5, 7), (Shape{7, 7, 7, 7, 7}));
  EXPECT_EQ(Shape(2, 7), (Shape{7, 7}));
}

}  // namespace
}  // namespace liveweight
