// Deltas beside their mirror: when it may be used, what is counted, and where it is after a rollback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delta_fixture.h"
#include "live/touched_units.h"
#include "liveweight/load.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";      // [24, 16]
constexpr const char* kGate = "model.layers.0.mlp.gate_proj.weight";  // fused with it

class DeltaMirror : public ::testing::Test {
 protected:
  void start(const char* scheme) {
    options_.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    // The first element of each row decides its scale; the very first that of the tensor.
    for (const char* name : {kUp, kGate}) {
      for (int64_t i = 0; i < 24 * 16; ++i) now_.set(name, i, i == 0 ? 2.0f : i % 16 == 0 ? 1.0f : 0.01f);
    }
    live_ = make_model(model_, now_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, now_));
    mirror_ = Mirror::open(mirror_path()).value();
    ASSERT_TRUE(mirror_->replace(write_checkpoint(folder_.path(), now_), same_name, "0"));
    ASSERT_TRUE(live_->attach_mirror(mirror_));
  }

  std::filesystem::path mirror_path() const { return folder_.path() / "mirror"; }

  Weights with(const char* name, std::initializer_list<std::pair<int64_t, float>> values) const {
    Weights next = now_;
    for (const auto& [at, value] : values) next.set(name, at, value);
    return next;
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama()};
  Weights now_ = model_.weights(random_);
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(DeltaMirror, CountsWhatIsTouchedQuantizedWholeAndRead) {
  start("int8_per_channel");
  // Row 1: a larger element. Row 2: the largest shrinks. Row 3: small ones only.
  const Weights next = with(kUp, {{20, 3.0f}, {32, 0.5f}, {50, 0.02f}, {51, 0.03f}});
  const auto deltas = deltas_between(now_, next);
  EXPECT_EQ(touched_units(live_->plan().implementation(), deltas), 3u);
  const auto report = commit_deltas(*live_, deltas);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->tensors, 1);
  EXPECT_EQ(report->changed_elements, 4u);
  EXPECT_EQ(report->whole_units, 2u);
  EXPECT_EQ(report->mirror_bytes, 2 * 16 * 2u);
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next, options_));
}

TEST_F(DeltaMirror, IsNotReplacedByWhatIsNotTheCurrentVersion) {
  start("int8_per_channel");
  const Weights next = with(kUp, {{20, 3.0f}});
  const Checkpoint checkpoint = write_checkpoint(folder_.path(), next);
  {
    auto open = live_->begin_update();
    EXPECT_EQ(mirror_checkpoint(*live_, mirror_, checkpoint, {}, "1").error().code, ErrorCode::kBusy);
  }
  EXPECT_EQ(mirror_checkpoint(*live_, mirror_, checkpoint, {}, "1", 7).error().code,
            ErrorCode::kStaleVersion);
  EXPECT_EQ(live_->attach_mirror(mirror_, 7).error().code, ErrorCode::kStaleVersion);
  EXPECT_EQ(mirror_->version(), "0");
  ASSERT_TRUE(put_all(*live_, next));
  ASSERT_TRUE(mirror_checkpoint(*live_, mirror_, checkpoint, {}, "1", live_->version().number));
  EXPECT_EQ(mirror_->version(), "1");
  const Weights last = with(kUp, {{20, 0.01f}});
  ASSERT_TRUE(put_changes(*live_, next, last));
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, last, options_));
}

TEST_F(DeltaMirror, CountsAMatrixOfOneScaleOnceAndOnlyWhereItMoves) {
  start("int8_per_tensor");
  const auto deltas = deltas_between(now_, with(kUp, {{20, 0.5f}, {40, 0.4f}}));
  EXPECT_EQ(touched_units(live_->plan().implementation(), deltas), 1u);
  EXPECT_EQ(commit_deltas(*live_, deltas)->whole_units, 0u);
  now_ = with(kUp, {{20, 0.5f}, {40, 0.4f}});
  // One of the two that hold the scale up shrinks: the other still holds it.
  Weights next = with(kUp, {{0, 0.25f}});
  EXPECT_EQ(put_changes(*live_, now_, next)->whole_units, 0u);
  now_ = next;
  next = with(kGate, {{0, 0.25f}});
  EXPECT_EQ(put_changes(*live_, now_, next)->whole_units, 1u);
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next, options_));
}

TEST_F(DeltaMirror, OneScaleIsOfTensorsThatAllComeWholeOrAllChange) {
  start("int8_per_tensor");
  UpdateOptions options;
  options.deltas = true;
  auto update = live_->begin_update(options);
  ASSERT_TRUE(update->put_deltas(deltas_between(now_, with(kUp, {{20, 0.5f}}))));
  ASSERT_TRUE(update->put(kGate, now_.view(kGate)));
  const Status status = update->prepare();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.error().message, HasSubstr("it came whole"));
}

TEST_F(DeltaMirror, ThatAnotherProcessMovedOnIsUsedOnlyOnItsWayToTheSameVersion) {
  for (const char* label : {"1", "", "2"}) {
    start("int8_per_channel");
    const Weights next = with(kUp, {{20, 3.0f}});
    const auto other = Mirror::open(mirror_path()).value();
    ASSERT_TRUE(other->record(deltas_between(now_, next), "1", other->sequence()));
    UpdateOptions options;
    options.label = label;
    const auto report = put_changes(*live_, now_, next, options);
    ASSERT_EQ(report.has_value(), std::string(label) == "1") << label;
    if (report) continue;
    EXPECT_THAT(report.error().message, HasSubstr("the mirror does not hold version 1"));
  }
}

TEST_F(DeltaMirror, GoesBackWithItsOwnCommitOnly) {
  start("int8_per_channel");
  const Weights next = with(kUp, {{20, 3.0f}});
  ASSERT_TRUE(put_changes(*live_, now_, next));
  const uint64_t sequence = mirror_->sequence();
  // A whole update does not bring it along, and its rollback does not take it back.
  ASSERT_TRUE(put_all(*live_, now_));
  ASSERT_TRUE(live_->rollback());
  ASSERT_TRUE(mirror_->hold());
  EXPECT_EQ(mirror_->sequence(), sequence);
  // So it is the current version's, and the next delta can use it.
  Weights both = next;
  both.set(kGate, 20, 4.0f);
  const auto report = put_changes(*live_, next, both);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, both, options_));
  ASSERT_TRUE(live_->rollback());
  expect_holds(*mirror_, next);
  ASSERT_TRUE(put_changes(*live_, next, both));
}

TEST_F(DeltaMirror, TakesChangesOfEachNameOfATie) {
  start("int8_per_channel");
  Weights next = now_;
  next.set("model.embed_tokens.weight", 5, 7.0f);
  std::vector<TensorDelta> deltas = deltas_between(now_, next);
  ASSERT_EQ(deltas.size(), 1u);
  deltas.push_back(deltas[0]);
  deltas[1].name = "lm_head.weight";
  EXPECT_EQ(touched_units(live_->plan().implementation(), deltas),
            touched_units(live_->plan().implementation(), std::span(deltas).first(1)));
  for (const size_t first : {0, 1}) {
    ASSERT_TRUE(commit_deltas(*live_, {deltas[first]}));
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next, options_));
    ASSERT_TRUE(live_->rollback());
    ASSERT_TRUE(live_->attach_mirror(nullptr));
  }
  ASSERT_TRUE(commit_deltas(*live_, deltas)) << "both, equal";
  Weights other = now_;
  other.set("model.embed_tokens.weight", 5, 8.0f);
  deltas[1] = deltas_between(now_, other)[0];
  deltas[1].name = "lm_head.weight";
  EXPECT_EQ(commit_deltas(*live_, deltas).error().code, ErrorCode::kDuplicateTensor);
}

TEST_F(DeltaMirror, RanksOfAnotherModelHaveNoCommonDigest) {
  start("int8_per_channel");
  Random random(1);
  const RandomModel other(random);
  const auto plan = Plan::compile(other.description(), other.weights(random).catalog(), {}).value();
  std::vector<std::unique_ptr<LiveModel>> ranks;
  ranks.push_back(std::move(live_));
  ASSERT_NE(plan->parameters().size(), ranks[0]->plan().parameters().size());
  EXPECT_EQ(digest_of_ranks(*plan, ranks).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace liveweight::testing
