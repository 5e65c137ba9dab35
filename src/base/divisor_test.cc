#include "base/divisor.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace liveweight {
namespace {

constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();

void expect_exact(uint32_t divisor, uint32_t dividend) {
  ASSERT_EQ(Divisor(divisor).divide(dividend), dividend / divisor) << dividend << " / " << divisor;
}

// Around each multiple an error of one would show.
TEST(DivisorTest, DividesAsTheProcessorDoes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto divisor = std::max<uint32_t>(1, static_cast<uint32_t>(random() >> 32 >> random() % 32));
    const auto multiple = static_cast<uint32_t>(random() >> 32) / divisor * divisor;
    for (const uint32_t dividend : {multiple - 1, multiple, multiple + 1, static_cast<uint32_t>(random())}) {
      expect_exact(divisor, dividend);
    }
  }
  for (const uint32_t divisor : {1u, 2u, 3u, 1u << 31, kMost - 1, kMost}) {
    for (const uint32_t dividend : {0u, 1u, 2u, divisor - 1, divisor, kMost - 1, kMost}) {
      expect_exact(divisor, dividend);
    }
  }
}

}  // namespace
}  // namespace liveweight
