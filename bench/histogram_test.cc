#include "bench/histogram.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <vector>

namespace liveweight::bench {
namespace {

TEST(Histogram, of_nothing_has_zeros) {
  EXPECT_EQ(Histogram().quantile(0.5), 0u);
  EXPECT_EQ(Histogram().largest(), 0u);
}

TEST(Histogram, gives_quantiles_of_a_few_values_at_most_a_thirty_second_above) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    Histogram histogram;
    std::vector<uint64_t> values;
    for (int i = 0; i < 1000; ++i) {
      values.push_back(random() >> (25 + random() % 38));
      histogram.add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double share : {0.001, 0.5, 0.99, 0.999, 1.0}) {
      const uint64_t exact = values[static_cast<size_t>(share * 1000) - 1];
      EXPECT_GE(histogram.quantile(share), exact);
      EXPECT_LE(histogram.quantile(share), exact + exact / 32);
    }
    EXPECT_EQ(histogram.largest(), values.back());
  }
}

TEST(Histogram, of_two_together_is_that_of_all_their_values) {
  Histogram low, high;
  for (uint64_t i = 1; i <= 90; ++i) low.add(i);
  for (uint64_t i = 1; i <= 10; ++i) high.add(uint64_t{1} << 50);
  low.add_all(high);
  EXPECT_EQ(low.count(), 100u);
  EXPECT_LE(low.quantile(0.9), 93u);
  EXPECT_EQ(low.quantile(1), (uint64_t{1} << 40) - 1);
  EXPECT_EQ(low.largest(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace liveweight::bench
