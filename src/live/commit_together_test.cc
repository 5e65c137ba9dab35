#include <gmock/gmock.h>

#include "base/seam.h"
#include "live/delivery.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

// Two ranks of a model, at version 1.
class CommitTogether : public ::testing::TestWithParam<CommitMode> {
 protected:
  void SetUp() override {
    options_.mode = GetParam();
    options_.quantization = QuantizationConfig::uniform(parse_scheme("fp8_per_channel").value());
    options_.tensor_parallel.size = 2;
    for (int64_t& rank = options_.tensor_parallel.rank; rank < 2; ++rank) {
      ranks_.push_back(make_model(model_, first_.catalog(), options_).value());
      ASSERT_TRUE(put_all(*ranks_.back(), first_));
      digests_.push_back(digest_of(*ranks_.back())->model);
    }
  }

  std::vector<Update> updates_with(const Weights& of_rank_0, const Weights& of_rank_1,
                                   UpdateOptions options = {}) {
    std::vector<Update> updates;
    for (const Weights* weights : {&of_rank_0, &of_rank_1}) {
      updates.push_back(ranks_[updates.size()]->begin_update(options).value());
      for (const auto& [name, entry] : weights->tensors) {
        EXPECT_TRUE(updates.back().borrow(name, weights->view(name)));
      }
    }
    return updates;
  }

  void expect_nothing_changed() const {
    for (size_t rank = 0; rank < 2; ++rank) EXPECT_EQ(digest_of(*ranks_[rank])->model, digests_[rank]);
  }

  Random random_{5};
  const RandomModel model_{random_};
  const Weights first_ = model_.weights(random_), second_ = model_.weights(random_);
  PlanOptions options_;
  std::vector<std::unique_ptr<LiveModel>> ranks_;
  std::vector<Digest> digests_;
};

TEST_P(CommitTogether, BringsEveryRankToTheNextVersion) {
  auto updates = updates_with(second_, second_);
  const auto reports = commit_together(updates);
  ASSERT_TRUE(reports) << reports.error().message;
  ASSERT_EQ(reports->size(), 2u);
  for (const auto& rank : ranks_) EXPECT_EQ(rank->version().number, 2u);
  options_.tensor_parallel.rank = 1;
  EXPECT_EQ(digest_of(*ranks_[1])->model, cold_digest(model_, second_, options_));
}

TEST_P(CommitTogether, BringsNoneWhereOneCannotBePrepared) {
  Weights bad = second_;
  bad.set("model.norm.weight", 0, NAN);
  auto updates = updates_with(second_, bad);
  const auto reports = commit_together(updates);
  ASSERT_FALSE(reports);
  EXPECT_EQ(reports.error().code, ErrorCode::kNonFinite);
  EXPECT_THAT(reports.error().message, HasSubstr("rank 1: tensor model.norm.weight"));
  expect_nothing_changed();
  for (const auto& rank : ranks_) EXPECT_EQ(rank->version().number, 1u);
  auto again = updates_with(second_, second_);
  EXPECT_TRUE(commit_together(again));
}

TEST_P(CommitTogether, TakesBackThoseThatCommittedBeforeOneThatCannot) {
  UpdateOptions options;
  options.reader_timeout = std::chrono::milliseconds(10);
  auto updates = updates_with(second_, second_, options);
  {
    const Snapshot reader = ranks_[1]->pin().value();  // holds the version that the second has to overwrite
    const auto reports = commit_together(updates);
    if (GetParam() == CommitMode::kFlip) {
      EXPECT_TRUE(reports) << "a flip waits for nobody";
      return;
    }
    ASSERT_FALSE(reports);
    EXPECT_EQ(reports.error().code, ErrorCode::kBusy);
    EXPECT_THAT(reports.error().message, HasSubstr("rank 1: "));
  }
  expect_nothing_changed();
  auto again = updates_with(second_, second_);
  EXPECT_TRUE(commit_together(again));
  EXPECT_EQ(ranks_[1]->version().number, 2u) << "what was refused takes no number";
}

// Fails at the second rank's flip.
class SecondFlipFails : public Seam {
 public:
  SecondFlipFails() { set_seam(this); }
  ~SecondFlipFails() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step != Step::kFlip || flips_++ != 1) return {};
    return fail(ErrorCode::kInternal, "the test wants this to fail");
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

 private:
  int flips_ = 0;
};

TEST_P(CommitTogether, SaysWhichRankIsAheadWhereItCannotGoBack) {
  for (size_t rank = 0; rank < 2; ++rank) {
    options_.tensor_parallel.rank = static_cast<int64_t>(rank);
    ranks_[rank] = make_model(model_, first_.catalog(), options_).value();
  }
  auto updates = updates_with(first_, first_);
  {
    const SecondFlipFails seam;
    const auto reports = commit_together(updates);
    ASSERT_FALSE(reports);
    EXPECT_THAT(reports.error().message,
                HasSubstr("rank 1: the test wants this to fail; rank 0 is ahead of it: "
                          "rollback: "));
  }
  EXPECT_EQ(ranks_[0]->version().number, 1u);
  EXPECT_EQ(ranks_[1]->version().number, 0u);
  auto again = updates_with(first_, first_);
  ASSERT_TRUE(commit_together(again));
  expect_nothing_changed();
}

INSTANTIATE_TEST_SUITE_P(Modes, CommitTogether, ::testing::Values(CommitMode::kFlip, CommitMode::kCopy),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace liveweight::testing
