// A mirror that several ranks or processes use: what one of them did to it, the others notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

// Two models of the same weights, each with the mirror opened by itself.
class SharedMirror : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    const Checkpoint checkpoint = write_checkpoint(folder_.path() / "checkpoint", first_);
    ASSERT_TRUE(Mirror::open(path_).value()->replace(checkpoint, same_name, "1"));
    for (int i = 0; i < 2; ++i) {
      live_.push_back(make_model(model_, first_.catalog(), options_).value());
      ASSERT_TRUE(put_all(*live_[i], first_));
      mirrors_.push_back(Mirror::open(path_).value());
      ASSERT_TRUE(live_[i]->attach_mirror(mirrors_[i]));
    }
  }

  Weights with(Weights weights, int64_t element, float value) const {
    weights.set(kUp, element, value);
    return weights;
  }

  static UpdateOptions deltas_of(const std::string& label) {
    UpdateOptions options;
    options.deltas = true;
    options.label = label;
    return options;
  }

  void expect_at(const LiveModel& live, const Weights& weights) const {
    EXPECT_EQ(digest_of(live)->model, cold_digest(model_, weights, options_));
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama(64, 96)};
  const Weights first_ = with(model_.weights(random_), 0, 1.0f);
  const Weights second_ = with(first_, 1, 2.0f), third_ = with(first_, 2, 3.0f);  // other scales of row 0
  const Weights fourth_ = with(second_, 2, 4.0f);
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path path_ = folder_.path() / "mirror";
  std::vector<std::unique_ptr<LiveModel>> live_;
  std::vector<std::shared_ptr<Mirror>> mirrors_;
};

TEST_F(SharedMirror, ThatOneTookBackServesAnotherThatNeverWentAlong) {
  ASSERT_TRUE(live_[1]->attach_mirror(mirrors_[0]));
  ASSERT_TRUE(put_changes(*live_[0], first_, second_, deltas_of("2")));
  ASSERT_TRUE(live_[0]->rollback());
  const auto report = put_changes(*live_[1], first_, third_, deltas_of("3"));
  ASSERT_TRUE(report) << report.error().message;
  expect_at(*live_[1], third_);
}

TEST_F(SharedMirror, ThatAnotherProcessTookBackServesOneThatNeverWentAlong) {
  ASSERT_TRUE(put_changes(*live_[0], first_, second_, deltas_of("2")));
  ASSERT_TRUE(live_[0]->rollback());
  const auto report = put_changes(*live_[1], first_, third_, deltas_of("3"));
  ASSERT_TRUE(report) << report.error().message;
  expect_at(*live_[1], third_);
}

// Whoever has put the version in, and whoever goes first.
TEST_F(SharedMirror, IsTakenBackByTheFirstProcessForAllThatGoBack) {
  for (const int round : {0, 1, 2, 3, 4, 5, 6, 7}) {
    SCOPED_TRACE(round);
    const std::string label = fmt::format("{}", round);
    for (const auto& live : live_)
      ASSERT_TRUE(put_changes(*live, first_, second_, deltas_of("2 of " + label)));
    if (round & 1) {
      ASSERT_TRUE(live_[(round >> 1) & 1]->catch_up());
    }
    const int first = round >> 2;
    ASSERT_TRUE(live_[first]->rollback() && live_[1 - first]->rollback());
    for (const auto& live : live_) {
      const auto report = put_changes(*live, first_, third_, deltas_of("3 of " + label));
      ASSERT_TRUE(report) << report.error().message;
      expect_at(*live, third_);
    }
    for (const auto& live : live_) ASSERT_TRUE(live->rollback());
    for (const auto& live : live_) expect_at(*live, first_);
  }
}

// To and fro, whoever goes first each time.
TEST_F(SharedMirror, GoesForwardAgainWithAllThatGoBackTwice) {
  for (const int round : {0, 1, 2, 3, 4, 5, 6, 7}) {
    SCOPED_TRACE(round);
    const std::string label = fmt::format("{}", round);
    for (const auto& live : live_)
      ASSERT_TRUE(put_changes(*live, first_, second_, deltas_of("2 of " + label)));
    if (round & 1) {
      ASSERT_TRUE(live_[0]->catch_up());
    }
    for (const int first : {(round >> 1) & 1, round >> 2}) {
      ASSERT_TRUE(live_[first]->rollback() && live_[1 - first]->rollback());
    }
    for (const auto& live : live_) {
      const auto report = put_changes(*live, second_, fourth_, deltas_of("4 of " + label));
      ASSERT_TRUE(report) << report.error().message;
      expect_at(*live, fourth_);
    }
    for (const auto& live : live_)
      ASSERT_TRUE(put_changes(*live, fourth_, first_, deltas_of("1 of " + label)));
  }
}

TEST_F(SharedMirror, IsNotMovedOnByOneThatOnlyBeginsWhileAnotherMayStillGoBack) {
  ASSERT_TRUE(put_changes(*live_[0], first_, second_, deltas_of("2")));
  ASSERT_TRUE(live_[1]->begin_update(deltas_of("2")));
  ASSERT_TRUE(live_[0]->rollback());
  const auto report = put_changes(*live_[0], first_, third_, deltas_of("3"));
  ASSERT_TRUE(report) << report.error().message;
  expect_at(*live_[0], third_);
}

TEST_F(SharedMirror, OfAnotherVersionIsNotAskedFor) {
  ASSERT_TRUE(put_all(*live_[0], second_));
  std::filesystem::rename(path_, folder_.path() / "gone");
  UpdateOptions options;
  options.scope = {kUp};
  const auto update = live_[0]->begin_update(options);
  EXPECT_TRUE(update) << update.error().message;
}

TEST_F(SharedMirror, ThatIsCutOffRefusesWholeTensorsThatItShouldFollow) {
  mirrors_[0] = Mirror::in_memory(Checkpoint::open(folder_.path() / "checkpoint").value(), same_name).value();
  ASSERT_TRUE(live_[0]->attach_mirror(mirrors_[0]));
  std::filesystem::resize_file(folder_.path() / "checkpoint/model.safetensors", 100);
  UpdateOptions options;
  options.scope = {kUp};
  auto update = live_[0]->begin_update(options);
  ASSERT_TRUE(update);
  const Status status = update->borrow(kUp, second_.view(kUp));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_THAT(status.error().message, ::testing::HasSubstr("model.safetensors: the file changed"));
}

}  // namespace
}  // namespace liveweight::testing
