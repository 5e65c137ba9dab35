#include "live/plan_cut.h"

#include <gtest/gtest.h>

#include "live/random_model.h"

namespace liveweight::testing {
namespace {

// How many times the ranks together keep each element of one member of a parameter.
struct Kept {
  Kept(const ParameterDescription& parameter, int32_t index)
      : member(index), cols(parameter.cols), times(static_cast<size_t>(rows_of(parameter, index) * cols)) {}

  static int64_t rows_of(const ParameterDescription& parameter, int32_t index) {
    const Shape& shape = parameter.members[static_cast<size_t>(index)].shape;
    return shape.empty() ? 1 : shape[0];
  }

  void add(const ParameterCut& cut) {
    for (const MemberCut& part : cut.members) {
      if (part.member != member) continue;
      for (int64_t row = 0; row < part.segment.rows; ++row) {
        for (int64_t col = 0; col < cut.cols; ++col) {
          ++times.at(static_cast<size_t>((part.segment.source_row + row) * cols + cut.source_col + col));
        }
      }
    }
  }

  int32_t member;
  int64_t cols;
  std::vector<int64_t> times;
};

int32_t members_of_a_matrix(const ParameterDescription& parameter) {
  return static_cast<int32_t>(std::count_if(parameter.members.begin(), parameter.members.end(),
                                            [](const Member& member) { return member.matrix == 0; }));
}

void expect_segments_fill_the_matrix(const ParameterCut& cut, int32_t members) {
  int64_t row = 0;
  for (const MemberCut& part : cut.members) {
    EXPECT_EQ(part.segment.row, row);
    EXPECT_LT(part.member, members);
    row += part.segment.rows;
  }
  EXPECT_EQ(row, cut.rows);
}

TEST(PlanCut, SharesEveryElementOfAMatrixOutAmongTheRanks) {
  for_each_seed(40, [&](Random& random, uint64_t) {
    const RandomModel model(random, 8);
    constexpr int64_t kSizes[] = {1, 2, 4, 8};
    const int64_t size = one_of(random, kSizes);
    for (const ParameterDescription& parameter : model.description().parameters) {
      SCOPED_TRACE(fmt::format("{} among {} ranks, {}", parameter.name, size, model.text()));
      const int32_t members = members_of_a_matrix(parameter);
      std::vector<Kept> kept;
      for (int32_t member = 0; member < members; ++member) kept.emplace_back(parameter, member);
      for (int64_t rank = 0; rank < size; ++rank) {
        const auto cut = cut_parameter(parameter, {size, rank});
        ASSERT_TRUE(cut) << cut.error().message;
        expect_segments_fill_the_matrix(*cut, members);
        if (size == 1) {
          EXPECT_EQ(cut->rows, parameter.rows);
        }
        for (Kept& member : kept) member.add(*cut);
      }
      for (const Kept& member : kept) {
        // Heads of keys that are fewer than the ranks are kept by several, and what is not cut by all.
        const int64_t times = member.times.at(0);
        EXPECT_GE(times, 1);
        if (parameter.cut == Cut::kReplicated) {
          EXPECT_EQ(times, size);
        }
        if (parameter.cut == Cut::kCols) {
          EXPECT_EQ(times, 1);
        }
        for (const int64_t other : member.times) ASSERT_EQ(other, times) << "member " << member.member;
      }
    }
  });
}

}  // namespace
}  // namespace liveweight::testing
