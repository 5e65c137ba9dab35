#include "live/interval_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace liveweight {
namespace {

TEST(IntervalSet, PiecesInAnyOrderCoverTheWhole) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int64_t size = 1 + random() % 500;
    std::vector<int64_t> cuts = {0, size};
    for (int i = 0; i < 20; ++i) cuts.push_back(random() % (size + 1));
    std::sort(cuts.begin(), cuts.end());
    std::vector<size_t> order(cuts.size() - 1);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    IntervalSet set;
    for (const size_t i : order) {
      EXPECT_EQ(set.first_gap(size).has_value(), !set.covers(0, size));
      EXPECT_TRUE(set.add(cuts[i], cuts[i + 1]));
    }
    EXPECT_FALSE(set.first_gap(size).has_value());
    EXPECT_TRUE(set.covers(0, size));
  }
}

TEST(IntervalSet, AnElementThatComesTwiceIsRefusedAndChangesNothing) {
  IntervalSet set;
  EXPECT_TRUE(set.add(10, 20));
  EXPECT_TRUE(set.add(30, 40));
  for (const auto& [begin, end] : {std::pair{5, 11}, {19, 25}, {12, 13}, {0, 100}, {10, 20}, {25, 31}}) {
    EXPECT_FALSE(set.add(begin, end)) << begin << " " << end;
  }
  EXPECT_EQ(set.first_gap(40)->end, 10);
  EXPECT_TRUE(set.add(20, 30));
  EXPECT_TRUE(set.covers(10, 40));
  EXPECT_FALSE(set.covers(9, 40));
}

TEST(IntervalSet, NamesTheFirstGap) {
  IntervalSet set;
  set.add(0, 7);
  set.add(9, 12);
  EXPECT_EQ(set.first_gap(12)->begin, 7);
  EXPECT_EQ(set.first_gap(12)->end, 9);
  set.add(7, 9);
  EXPECT_FALSE(set.first_gap(12).has_value());
  EXPECT_EQ(set.first_gap(13)->begin, 12);
}

TEST(IntervalSet, NothingIsCoveredByNothing) {
  IntervalSet set;
  EXPECT_TRUE(set.add(5, 5));
  EXPECT_TRUE(set.empty());
  EXPECT_FALSE(set.first_gap(0).has_value());
}

}  // namespace
}  // namespace liveweight
