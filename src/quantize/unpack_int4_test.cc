#include "quantize/unpack_int4.h"

#include <gtest/gtest.h>

#include "quantize/random_matrix.h"

namespace liveweight {
namespace {

class UnpackInt4On : public TargetTest {};

TEST_P(UnpackInt4On, HasTheOraclesCodesForAnySizeAndPlaceAndWritesNothingElse) {
  std::mt19937_64 random(11);
  constexpr std::byte kUntouched{0x55};
  for (int round = 0; round < 400; ++round) {
    const int64_t rows = testing::up_to(random, 3), cols = testing::chance(random, 3)
                                                               ? 64 * testing::up_to(random, 5)
                                                               : testing::up_to(random, 300);
    const int64_t row_bytes = (cols + 1) / 2 + (testing::chance(random, 2) ? testing::up_to(random, 40) : 0);
    const int64_t from = testing::up_to(random, 63),
                  to = testing::chance(random, 2) ? 64 : testing::up_to(random, 127);
    std::vector<std::byte> packed(static_cast<size_t>(from + rows * row_bytes));
    for (std::byte& byte : packed) byte = static_cast<std::byte>(random());
    const Int4Rows codes{packed.data() + from, rows, cols, row_bytes};
    alignas(64) std::byte fast[1200], oracle[1200];
    std::fill(std::begin(fast), std::end(fast), kUntouched);
    std::fill(std::begin(oracle), std::end(oracle), kUntouched);
    unpack_int4(codes, fast + to);
    unpack_int4_reference(codes, oracle + to);
    ASSERT_TRUE(std::equal(std::begin(fast), std::end(fast), oracle))
        << rows << " x " << cols << " to " << to;
  }
}

TEST(UnpackInt4, TheEvenColumnIsTheLowNibbleAndZeroIsTheCodeEight) {
  const std::byte packed[] = {std::byte{0xf0}, std::byte{0x08}};
  int8_t codes[3] = {};
  unpack_int4({packed, 1, 3, 2}, reinterpret_cast<std::byte*>(codes));
  EXPECT_EQ(codes[0], -8);
  EXPECT_EQ(codes[1], 7);
  EXPECT_EQ(codes[2], 0);
}

LIVEWEIGHT_INSTANTIATE_TARGETS(UnpackInt4On, testing::kTargets | HWY_TARGETS);

}  // namespace
}  // namespace liveweight
