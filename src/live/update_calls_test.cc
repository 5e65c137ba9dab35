// Calls on one update that meet, that bring nothing, or that bring more than a piece of work.
#include <gtest/gtest.h>

#include <thread>

#include "base/seam.h"
#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

const std::string kUp = "model.layers.0.mlp.up_proj.weight";

// Holds one thread at the first step of a call.
class Holding : public Seam {
 public:
  Holding() { set_seam(this); }
  ~Holding() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step != Step::kChunk || std::this_thread::get_id() != held_) return {};
    arrived_ = true;
    arrived_.notify_all();
    free_.wait(false);
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

  void hold_this_thread() { held_ = std::this_thread::get_id(); }
  void wait_until_held() const { arrived_.wait(false); }
  void let_go() {
    free_ = true;
    free_.notify_all();
  }

 private:
  std::atomic<std::thread::id> held_{};
  std::atomic<bool> arrived_{false}, free_{false};
};

class UpdateCalls : public ::testing::Test {
 protected:
  void start(CommitMode mode) {
    options_.mode = mode;
    live_ = make_model(model_, first_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, first_));
  }

  void expect_at(const Weights& weights) const {
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, weights, options_));
  }

  Random random_{4};
  RandomModel model_{one_layer_llama()};
  Weights first_ = model_.weights(random_), second_ = model_.weights(random_);
  PlanOptions options_;
  std::unique_ptr<LiveModel> live_;
};

TEST_F(UpdateCalls, ThatFailTogetherGiveTheErrorThatCameFirst) {
  start(CommitMode::kFlip);
  Update update = live_->begin_update().value();
  Status late;
  Holding seam;
  std::thread slow([&] {
    seam.hold_this_thread();
    late = update.put("came.first.but.failed.late", first_.view(kUp));
  });
  seam.wait_until_held();
  const Status first = update.put("failed.first", first_.view(kUp));
  seam.let_go();
  slow.join();
  ASSERT_FALSE(first || late);
  EXPECT_EQ(late.error().message, first.error().message);
  EXPECT_EQ(update.commit().error().message, first.error().message);
}

TEST_F(UpdateCalls, ReportTheMemoryOfTheNextSlotsWhereEverythingWasBorrowed) {
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace}) {
    start(mode);
    const auto report = put_all(*live_, second_);
    EXPECT_EQ(report->extra_peak_bytes, mode == CommitMode::kInPlace ? 0 : live_->plan().live_bytes())
        << to_string(mode);
  }
}

// In the mode in_place the first byte of a `put` withdraws the current version.
TEST_F(UpdateCalls, ThatBringNoElementWithdrawNothing) {
  ModelDescription description = model_.description();
  description.parameters.push_back(
      {"empty", Role::kFinalNorm, 0, 1, 0, 1, 1, Cut::kReplicated, {{"empty", {0}, 0, {{0}}}}});
  TensorCatalog catalog = first_.catalog();
  catalog["empty"] = {DType::kBF16, {0}};
  options_.mode = CommitMode::kInPlace;
  const auto live = LiveModel::create(Plan::compile(description, catalog, options_).value()).value();
  ASSERT_TRUE(put_all(*live, first_)) << "what is empty need not come";
  {
    auto update = live->begin_update();
    ASSERT_TRUE(update->put("empty", {DType::kBF16, {0}, nullptr, 0}));
    ASSERT_TRUE(update->put(kUp, {DType::kBF16, {0, 16}, nullptr, 0}, {{3, 0}, {0, 16}}));
    ASSERT_TRUE(update->put_flat(kUp, {DType::kBF16, {0}, nullptr, 0}, 5));
  }
  EXPECT_TRUE(live->pin());
}

// Slots are exchanged a mebibyte at a time.
TEST_F(UpdateCalls, ExchangeAParameterOfMoreThanAMebibyteWhole) {
  model_ = RandomModel(one_layer_llama(256, 1100));
  first_ = model_.weights(random_), second_ = model_.weights(random_);
  start(CommitMode::kCopy);
  ASSERT_TRUE(put_all(*live_, second_));
  expect_at(second_);
  ASSERT_TRUE(live_->rollback());
  expect_at(first_);
}

// Of a tensor that needs no mirror. The first change is of one element, the second of all.
TEST_F(UpdateCalls, KeepADeltaOnlyUntilBothSlotsHaveItsChanges) {
  start(CommitMode::kFlip);
  Weights next = first_;
  next.set(kUp, 3, 7.0f);
  std::vector<TensorDelta> deltas = deltas_between(first_, next);
  std::weak_ptr<const void> kept = deltas[0].owner;
  ASSERT_TRUE(commit_deltas(*live_, std::exchange(deltas, {})));
  EXPECT_FALSE(kept.expired()) << "the other slot has not its changes yet";
  ASSERT_TRUE(live_->catch_up());
  EXPECT_TRUE(kept.expired());
  Weights last = next;
  last.tensors.at(kUp) = second_.tensors.at(kUp);
  deltas = deltas_between(next, last);
  kept = deltas[0].owner;
  ASSERT_TRUE(commit_deltas(*live_, std::exchange(deltas, {})));
  EXPECT_TRUE(kept.expired()) << "copying all of the slot is cheaper than each of them";
  ASSERT_TRUE(live_->catch_up());
  expect_at(last);
}

}  // namespace
}  // namespace liveweight::testing
