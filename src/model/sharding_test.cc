#include <gtest/gtest.h>

#include "liveweight/model.h"

namespace liveweight {
namespace {

TEST(ShardingTest, RanksShareOutAllRowsInWholeHeads) {
  for (int64_t heads = 1; heads <= 16; ++heads) {
    for (int64_t ranks = 1; ranks <= 8; ++ranks) {
      int64_t at = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const auto rows = rank_rows({heads * 24, 24, false}, ranks, rank, "q");
        ASSERT_EQ(rows.has_value(), heads % ranks == 0) << heads << " " << ranks;
        if (!rows) continue;
        EXPECT_EQ(rows->first, at);
        at = rows->second;
        EXPECT_EQ(rows->first % 24, 0);
      }
      if (heads % ranks == 0) {
        EXPECT_EQ(at, heads * 24);
      }
    }
  }
}

TEST(ShardingTest, KeyHeadsFewerThanRanksAreCopied) {
  for (int64_t heads = 1; heads <= 8; ++heads) {
    for (int64_t ranks = heads; ranks <= 8; ranks += heads) {
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const auto rows = rank_rows({heads * 16, 16, true}, ranks, rank, "k");
        ASSERT_TRUE(rows) << rows.error().message;
        const int64_t head = rank * heads / ranks;
        EXPECT_EQ(*rows, std::pair(head * 16, (head + 1) * 16));
      }
    }
  }
}

TEST(ShardingTest, HeadsThatCannotBeSharedOutAreRefusedByTensor) {
  for (const bool may_replicate : {false, true}) {
    const auto rows = rank_rows({3 * 8, 8, may_replicate}, 4, 0, "the.tensor");
    ASSERT_FALSE(rows);
    EXPECT_NE(rows.error().message.find("the.tensor"), std::string::npos);
  }
}

TEST(ShardingTest, ColumnsAreSharedOutWithoutHoleOrOverlap) {
  for (int64_t cols = 0; cols <= 40; ++cols) {
    for (int64_t ranks = 1; ranks <= 8; ++ranks) {
      int64_t at = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const auto [begin, end] = rank_cols(cols, ranks, rank);
        EXPECT_EQ(begin, at);
        EXPECT_LE(end - begin, (cols + ranks - 1) / ranks);
        at = end;
      }
      EXPECT_EQ(at, cols);
    }
  }
}

}  // namespace
}  // namespace liveweight
