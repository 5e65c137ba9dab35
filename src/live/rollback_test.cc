// The version before stays there for a rollback, at the cost of what changed, whatever is begun before the
// next commit.
#include <gtest/gtest.h>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

const std::string kUp = "model.layers.0.mlp.up_proj.weight";
const std::string kNorm = "model.norm.weight";

class Rollback : public ::testing::TestWithParam<CommitMode> {
 protected:
  void SetUp() override { start("int8_per_channel"); }

  void start(const std::string& scheme) {
    options_.mode = GetParam();
    options_.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    live_ = make_model(model_, first_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, first_));
    attach(first_);
  }

  void attach(const Weights& weights) {
    mirror_ = Mirror::in_memory(write_checkpoint(folder_.path(), weights), same_name).value();
    ASSERT_TRUE(live_->attach_mirror(mirror_));
  }

  Weights with(Weights weights, int64_t element, float value) const {
    weights.set(kUp, element, value);
    return weights;
  }

  void take(const Weights& from, const Weights& to) {
    const auto report = put_changes(*live_, from, to);
    ASSERT_TRUE(report) << report.error().message;
  }

  void expect_at(const Weights& weights) const {
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, weights, options_));
  }

  void expect_goes_to(const Weights& weights) {
    EXPECT_TRUE(live_->can_roll_back());
    const auto back = live_->rollback();
    ASSERT_TRUE(back) << back.error().message;
    expect_at(weights);
  }

  void expect_gone() {
    EXPECT_FALSE(live_->can_roll_back());
    EXPECT_EQ(live_->rollback().error().code, ErrorCode::kFailedState);
  }

  // An update that is given up when it has written.
  void give_up(UpdateOptions options, const std::function<Status(Update&)>& write) {
    auto update = live_->begin_update(std::move(options));
    ASSERT_TRUE(update && write(*update) && update->stage());
    EXPECT_FALSE(live_->can_roll_back()) << "while it is open";
    update->abort();
  }

  void give_up_delta(const Weights& from, const Weights& to) {
    UpdateOptions options;
    options.deltas = true;
    give_up(options, [&](Update& update) { return update.put_deltas(deltas_between(from, to)); });
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama(64, 96)};
  const Weights first_ = model_.weights(random_), other_ = model_.weights(random_);
  // A change in one place, and one that gives its row another scale.
  const Weights second_ = with(with(first_, 70, 0.001f), 1, 2.0f),
                third_ = with(with(second_, 3, 4.0f), 70, 0.002f);
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::shared_ptr<Mirror> mirror_;
};

INSTANTIATE_TEST_SUITE_P(Modes, Rollback, ::testing::Values(CommitMode::kFlip, CommitMode::kCopy),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(Rollback, ComesAfterTheNextSlotHasCaughtUpAndTheMirrorComesAlong) {
  for (const char* scheme : {"none", "int8_per_channel", "int4_per_group:32", "fp8_per_tensor",
                             "fp8_per_channel", "fp8_per_block"}) {
    SCOPED_TRACE(scheme);
    start(scheme);
    // The largest of all stays: one scale for the matrix is never moved.
    const Weights first = with(first_, 200, 8.0f), second = with(with(first, 70, 0.001f), 90, 0.5f);
    ASSERT_TRUE(put_all(*live_, first));
    attach(first);
    take(first, second);
    ASSERT_TRUE(live_->catch_up());
    expect_goes_to(first);
    const Weights next = with(first, 90, 1.0f);
    take(first, next);
    expect_at(next);
    ASSERT_TRUE(mirror_->settle());
    expect_holds(*mirror_, next);
  }
}

TEST_P(Rollback, GoesToAndFroWithOrWithoutCatchingUp) {
  take(first_, second_);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(i % 3 == 0 || live_->catch_up());
    expect_goes_to(i % 2 ? second_ : first_);
  }
}

TEST_P(Rollback, LeavesAMirrorInMemoryAtTheCurrentVersionHoweverOften) {
  take(first_, second_);
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    expect_goes_to(i % 2 ? second_ : first_);
    ASSERT_TRUE(mirror_->settle());
    expect_holds(*mirror_, i % 2 ? second_ : first_);
  }
  take(second_, third_);
  expect_at(third_);
}

TEST_P(Rollback, ComesAfterAnUpdateThatWasGivenUp) {
  UpdateOptions part;
  part.scope = {kUp};
  for (const bool caught_up : {false, true}) {
    SCOPED_TRACE(caught_up);
    start("int8_per_channel");
    take(first_, second_);
    ASSERT_TRUE(!caught_up || live_->catch_up());
    give_up_delta(second_, third_);
    give_up(part, [&](Update& update) { return update.put(kUp, other_.view(kUp)); });
    give_up({}, [&](Update& update) -> Status {
      LW_TRY(update.put(kUp, other_.view(kUp)));
      return update.put(kNorm, other_.view(kNorm));
    });
    give_up_delta(second_, with(third_, 1, 0.5f));
    expect_at(second_);
    expect_goes_to(first_);
    expect_goes_to(second_);
  }
}

TEST_P(Rollback, OfAnUpdateOfOtherParametersIsNotInTheWay) {
  take(first_, second_);
  UpdateOptions part;
  part.scope = {kNorm};
  give_up(part, [&](Update& update) { return update.put(kNorm, other_.view(kNorm)); });
  expect_goes_to(first_);
}

TEST_P(Rollback, GoesToTheLastCommitAndNoFurther) {
  take(first_, second_);
  ASSERT_TRUE(live_->catch_up());
  take(second_, third_);
  expect_goes_to(second_);
}

TEST_P(Rollback, IsGoneWhereWhatCameWholeIsWrittenOver) {
  ASSERT_TRUE(put_all(*live_, second_));
  give_up_delta(second_, with(second_, 70, 0.003f));
  expect_gone();
  ASSERT_TRUE(put_all(*live_, first_));
  ASSERT_TRUE(live_->catch_up());
  expect_gone();
  expect_at(first_);
}

TEST_P(Rollback, IsGoneAfterCatchingUpWhereSoMuchChangedThatTheSlotIsCopied) {
  Weights next = first_;
  for (int64_t i = 0; i < 96 * 64; i += 8) next.set(kUp, i, 0.001f);
  take(first_, next);
  expect_goes_to(first_);
  expect_goes_to(next);
  ASSERT_TRUE(live_->catch_up());
  expect_gone();
}

TEST_P(Rollback, IsGoneAfterCatchingUpWhereMostUnitsWereQuantizedWhole) {
  Weights next = first_;
  for (int64_t row = 0; row < 48; ++row) next.set(kUp, row * 64, 3.0f);
  take(first_, next);
  ASSERT_TRUE(live_->catch_up());
  expect_gone();
}

TEST_P(Rollback, DoesNotNeedTheDeltaAnyMore) {
  auto positions = std::make_shared<std::vector<uint32_t>>(std::vector<uint32_t>{70, 75});
  TensorDelta delta = deltas_between(first_, with(with(first_, 70, 0.001f), 75, 0.002f)).at(0);
  ASSERT_EQ(delta.positions.size(), 2u);
  delta.positions = *positions;
  delta.owner =
      std::make_shared<std::pair<decltype(positions), decltype(delta.owner)>>(positions, delta.owner);
  ASSERT_TRUE(commit_deltas(*live_, {delta}));
  ASSERT_TRUE(live_->catch_up());
  *positions = {0, 1};  // as a file that was mapped
  expect_goes_to(first_);
}

TEST_P(Rollback, LeavesReadersWhatTheyPinned) {
  take(first_, second_);
  ASSERT_TRUE(live_->catch_up());
  if (GetParam() == CommitMode::kFlip) {
    const Snapshot pinned = live_->pin().value();
    ASSERT_TRUE(live_->rollback());
    EXPECT_EQ(digest_of(*live_, pinned).model, cold_digest(model_, second_, options_));
  } else {
    ASSERT_TRUE(live_->rollback());
  }
  expect_at(first_);
}

}  // namespace
}  // namespace liveweight::testing
