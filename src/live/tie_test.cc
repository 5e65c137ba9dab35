// A tensor with two names: whichever it comes under, whole or as changes, it is one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delta_fixture.h"
#include "live/touched_units.h"

namespace liveweight::testing {
namespace {

const std::string kEmbedding = "model.embed_tokens.weight", kHead = "lm_head.weight";

// The head is quantized, the embedding whose tensor it reads is not.
class Tie : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.quantization =
        QuantizationConfig::parse(
            R"({"linear": "int8_per_channel", "targets": {"lm_head": "int8_per_channel"}})")
            .value();
    start();
  }

  void start() {
    live_ = make_model(model_, now_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, now_));
  }

  Weights with(Weights weights, int64_t element, float value) const {
    weights.set(kEmbedding, element, value);
    return weights;
  }

  // On disk, with the tie under those names.
  void attach_mirror(const std::vector<std::string>& names) {
    Weights stored = now_;
    stored.tensors.erase(kEmbedding);
    for (const std::string& name : names) stored.tensors[name] = now_.tensors.at(kEmbedding);
    mirror_ = Mirror::open(folder_.path() / "mirror").value();
    ASSERT_TRUE(mirror_->replace(write_checkpoint(folder_.path(), stored), same_name, "1"));
    ASSERT_TRUE(live_->attach_mirror(mirror_));
  }

  TensorDelta changes_as(const std::string& name, const Weights& next) const {
    TensorDelta delta = compare_tensors(kEmbedding, now_.view(kEmbedding), next.view(kEmbedding)).value();
    delta.name = name;
    return delta;
  }

  void expect_at(const Weights& weights) const {
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, weights, options_));
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama()};
  const Weights now_ = with(model_.weights(random_), 0, 1.0f);
  const Weights next_ = with(now_, 5, 2.0f);  // another scale of row 0
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(Tie, TouchesTheSameUnitsUnderEitherNameAndUnderBoth) {
  const std::vector<TensorDelta> both = {changes_as(kEmbedding, next_), changes_as(kHead, next_)};
  const auto& plan = live_->plan().implementation();
  EXPECT_EQ(touched_units(plan, std::span(both).first(1)), 1u);
  EXPECT_EQ(touched_units(plan, std::span(both).last(1)), 1u);
  EXPECT_EQ(touched_units(plan, both), 1u);
}

TEST_F(Tie, ThatComesWholeIsNotedUnderEveryNameThatTheMirrorHasItBy) {
  const std::vector<std::string> names_of_mirrors[] = {{kEmbedding}, {kHead}, {kEmbedding, kHead}};
  for (const auto& names : names_of_mirrors) {
    for (const std::string& name : {kEmbedding, kHead}) {
      SCOPED_TRACE(name + " with a mirror of " + ::testing::PrintToString(names));
      start();
      attach_mirror(names);
      UpdateOptions options;
      options.scope = {name};
      auto update = live_->begin_update(options);
      ASSERT_TRUE(update);
      ASSERT_TRUE(update->borrow(name, next_.view(kEmbedding)));
      ASSERT_TRUE(update->commit());
      ASSERT_TRUE(mirror_->settle());
      for (const std::string& stored : names) {
        const TensorView there = mirror_->find(stored);
        EXPECT_EQ(std::memcmp(there.data, next_.view(kEmbedding).data, there.bytes), 0) << stored;
      }
      const Weights last = with(next_, 7, 4.0f);
      ASSERT_TRUE(put_changes(*live_, next_, last));
      expect_at(last);
    }
  }
}

// Whether they agree could be told only by what a model without a mirror has not kept.
TEST_F(Tie, ThatComesOnceWholeAndOnceAsChangesIsRefusedByItsNames) {
  UpdateOptions options;
  options.deltas = true;
  for (const auto& [whole, changes] : {std::pair(kEmbedding, kHead), {kHead, kEmbedding}}) {
    for (const bool whole_first : {true, false}) {
      auto update = live_->begin_update(options).value();
      const auto put_whole = [&, whole = whole] { return update.put(whole, next_.view(kEmbedding)); };
      EXPECT_TRUE(!whole_first || put_whole());
      EXPECT_TRUE(update.put_delta(changes_as(changes, next_)));
      EXPECT_TRUE(whole_first || put_whole());
      const auto report = update.commit();
      ASSERT_FALSE(report);
      EXPECT_EQ(report.error().code, ErrorCode::kUnsupported);
      EXPECT_THAT(report.error().names, ::testing::UnorderedElementsAre(kHead, kEmbedding));
      expect_at(now_);
    }
  }
}

// With the description's own ties no matrix of one scale has such a member.
TEST_F(Tie, ThatSharesAScaleWithOthersMayComeUnderEitherName) {
  const std::string layer = "model.layers.0.self_attn.", key = layer + "k_proj.weight",
                    other = "tied_to.k_proj";
  ModelDescription description = model_.description();
  description.aliases.emplace_back(other, key);
  options_.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_tensor").value());
  live_ = LiveModel::create(Plan::compile(description, now_.catalog(), options_).value()).value();
  Random random(5);
  Weights next = model_.weights(random);
  for (const bool deltas : {false, true}) {
    UpdateOptions options;
    options.deltas = deltas;
    auto update = live_->begin_update(options);
    ASSERT_TRUE(update);
    for (const auto& [name, entry] : next.tensors) {
      ASSERT_TRUE(update->borrow(name == key ? other : name, next.view(name)));
    }
    const auto report = update->commit();
    ASSERT_TRUE(report) << report.error().message;
    expect_at(next);
    next = model_.weights(random);
  }
}

}  // namespace
}  // namespace liveweight::testing
