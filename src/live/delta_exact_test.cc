// Single changes aimed at one rule each: after them the bits are those of a cold load.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";  // [intermediate, hidden]
constexpr const char* kGate = "model.layers.0.mlp.gate_proj.weight";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";  // [hidden, intermediate]
constexpr const char* kEmbed = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

std::string config_of(int64_t hidden, int64_t intermediate, const std::string& kind = "LlamaForCausalLM") {
  return fmt::format(
      R"({{"architectures": ["{}"], "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 32,
          "num_local_experts": 3, "num_experts_per_tok": 2,
          "tie_word_embeddings": true, "torch_dtype": "bfloat16"}})",
      kind, hidden, intermediate);
}

class DeltaExact : public ::testing::Test {
 protected:
  void start(const char* scheme, const std::string& config, int64_t ranks = 1) {
    model_.emplace(config);
    now_ = model_->weights(random_);
    for (auto& [name, entry] : now_.tensors) {
      if (name.find("mlp") == std::string::npos && name.find("moe") == std::string::npos) continue;
      for (int64_t i = 0; i < element_count(entry.shape); ++i) now_.set(name, i, 0.01f);
    }
    options_.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    options_.tensor_parallel.size = ranks;
  }

  // With a mirror of `held`, which is `now_` where none is given.
  void load(const std::optional<Weights>& held = {}) {
    const Checkpoint checkpoint = write_checkpoint(folder_.path(), held ? *held : now_);
    mirror_ = Mirror::in_memory(checkpoint, same_name).value();
    live_.clear();
    for (int64_t rank = 0; rank < options_.tensor_parallel.size; ++rank) {
      PlanOptions own = options_;
      own.tensor_parallel.rank = rank;
      live_.push_back(make_model(*model_, now_.catalog(), own).value());
      ASSERT_TRUE(put_all(*live_.back(), now_));
      ASSERT_TRUE(live_.back()->attach_mirror(rank == 0 ? mirror_
                                                        : Mirror::in_memory(checkpoint, same_name).value()));
    }
  }

  Weights with(const std::string& name, std::initializer_list<std::pair<int64_t, float>> values) const {
    Weights next = now_;
    for (const auto& [at, value] : values) next.set(name, at, value);
    return next;
  }

  TensorDelta delta(const std::string& name, std::initializer_list<std::pair<int64_t, float>> values) const {
    return deltas_between(now_, with(name, values)).at(0);
  }

  // The first rank's report.
  UpdateReport expect_exact(const Weights& next) {
    UpdateReport first;
    for (size_t rank = live_.size(); rank-- > 0;) {
      const auto report = put_changes(*live_[rank], now_, next);
      EXPECT_TRUE(report) << report.error().message;
      if (report) first = *report;
    }
    now_ = next;
    expect_cold();
    return first;
  }

  void expect_cold() {
    PlanOptions whole = options_;
    whole.tensor_parallel = {};
    const auto plan = Plan::compile(model_->description(), now_.catalog(), whole).value();
    const Digest live =
        live_.size() == 1 ? digest_of(*live_[0])->model : digest_of_ranks(*plan, live_)->model;
    EXPECT_EQ(live, cold_digest(*model_, now_, whole));
  }

  void expect_refused(const Result<UpdateReport>& report, ErrorCode code, const std::string& text) {
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_THAT(report.error().message, HasSubstr(text));
    expect_cold();
  }

  // As tensors of their own in checkpoint and mirror.
  void hold_both_names_of_the_tie() { now_.tensors[kHead] = now_.tensors.at(kEmbed); }

  // In the mirror, whose tensors are returned.
  Weights load_with_the_tie_under_its_other_name() {
    Weights held = now_;
    held.tensors[kHead] = held.tensors.at(kEmbed);
    held.tensors.erase(kEmbed);
    load(held);
    return held;
  }

  // Once the mirror has put in what is still pending.
  void expect_mirrored(const Weights& weights) {
    ASSERT_TRUE(mirror_->settle());
    expect_holds(*mirror_, weights);
  }

  Random random_{3};
  std::optional<RandomModel> model_;
  Weights now_;
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::vector<std::unique_ptr<LiveModel>> live_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(DeltaExact, AnyRowThatMovesABlocksScaleQuantizesAllItsRows) {
  start("fp8_per_block", config_of(128, 256));
  load();
  EXPECT_EQ(expect_exact(with(kUp, {{5 * 128, 3.0f}})).whole_units, 1u);
  EXPECT_EQ(expect_exact(with(kUp, {{255 * 128 + 127, 3.0f}})).whole_units, 1u);
  EXPECT_EQ(expect_exact(with(kUp, {{5 * 128, 0.01f}})).whole_units, 1u);
}

TEST_F(DeltaExact, ABlockIsQuantizedOnceWhereItsChangesAlternateWithAnothers) {
  start("fp8_per_block", config_of(256, 128));
  load();
  const Weights next = with(kUp, {{0, 1}, {200, 2}, {256, 3}, {456, 4}, {512, 5}});
  EXPECT_EQ(expect_exact(next).whole_units, 2u);
}

TEST_F(DeltaExact, TheLastElementMovesTheEdgeBlocksOfNemo) {
  for (const auto& [hidden, intermediate] : {std::pair{160, 256}, std::pair{256, 160}}) {
    start("fp8_per_block@nemo", config_of(hidden, intermediate));
    load();
    for (const char* name : {kUp, kDown}) {
      expect_exact(with(name, {{element_count(now_.tensors.at(name).shape) - 1, 4.0f}}));
      expect_exact(with(name, {{hidden == 160 ? 150 : 200, 0.02f}}));
      expect_exact(with(name, {{element_count(now_.tensors.at(name).shape) - 1, 0.01f}}));
    }
  }
}

TEST_F(DeltaExact, AnEdgeBlockOfNemoCountsALastElementThatDoesNotChange) {
  start("fp8_per_block@nemo", config_of(160, 256));
  now_.set(kUp, 256 * 160 - 1, 4.0f);
  load();
  expect_exact(with(kUp, {{150, 5.0f}}));
  expect_exact(with(kUp, {{150, 0.5f}}));
}

TEST_F(DeltaExact, ARanksBlockCountsTheRowsThatAnotherRankKeeps) {
  start("fp8_per_block", config_of(128, 160), 2);
  load();
  expect_exact(with(kUp, {{10 * 128, 3.0f}}));
  expect_exact(with(kUp, {{120 * 128, 5.0f}}));
  expect_exact(with(kUp, {{10 * 128, 0.5f}, {120 * 128, 0.25f}}));
}

TEST_F(DeltaExact, EachExpertsMatrixHasAScaleOfItsOwn) {
  start("int8_per_tensor", config_of(16, 24, "MixtralForCausalLM"));
  const std::string experts = "model.layers.0.block_sparse_moe.experts.";
  for (const char* matrix : {"w1", "w2", "w3"}) {
    now_.set(fmt::format("{}0.{}.weight", experts, matrix), 0, 2.0f);
  }
  load();
  for (const char* matrix : {"w1", "w2", "w3"}) {
    expect_exact(with(fmt::format("{}1.{}.weight", experts, matrix), {{5, 1.0f}}));
    expect_exact(with(fmt::format("{}0.{}.weight", experts, matrix), {{0, 0.5f}}));
  }
}

TEST_F(DeltaExact, GroupsAreReadFromTheMirrorAndCounted) {
  start("int4_per_group:8", config_of(16, 24));
  load();
  const UpdateReport report = expect_exact(with(kUp, {{20, 3.0f}, {40, 2.0f}}));
  EXPECT_EQ(report.whole_units, 2u);
  EXPECT_EQ(report.mirror_bytes, 2 * 8 * 2u);
}

TEST_F(DeltaExact, AGroupBesideAValueInTheMirrorThatIsNotFiniteIsRefused) {
  for (const char* scheme : {"int4_per_group:8", "int8_per_channel", "int8_per_tensor"}) {
    start(scheme, config_of(16, 24));
    load(with(kUp, {{21, NAN}}));
    expect_refused(commit_deltas(*live_[0], {delta(kUp, {{20, 3.0f}})}), ErrorCode::kNonFinite, kUp);
  }
}

TEST_F(DeltaExact, AMirrorWithATensorOfAnotherFormIsNotRead) {
  start("int8_per_channel", config_of(16, 24));
  Weights held = now_;
  std::swap(held.tensors[kUp].shape[0], held.tensors[kUp].shape[1]);
  load(held);
  expect_refused(commit_deltas(*live_[0], {delta(kUp, {{20, 3.0f}})}), ErrorCode::kFailedState,
                 "needs the unit's other elements");
}

TEST_F(DeltaExact, AMirrorWithoutTheTensorIsNotReadAsAnother) {
  start("int8_per_channel", config_of(16, 24));
  Weights held;
  held.tensors[kGate] = now_.tensors.at(kGate);
  load(held);
  expect_refused(commit_deltas(*live_[0], {delta(kUp, {{20, 3.0f}})}), ErrorCode::kFailedState,
                 "needs the unit's other elements");
}

TEST_F(DeltaExact, TiedTensorsWithDeltasAtUnequalPositionsAreRefused) {
  start("none", config_of(16, 24));
  hold_both_names_of_the_tie();
  load();
  std::vector<TensorDelta> deltas = {delta(kEmbed, {{5, 7.0f}}), delta(kEmbed, {{6, 7.0f}})};
  deltas[1].name = kHead;
  expect_refused(commit_deltas(*live_[0], deltas), ErrorCode::kDuplicateTensor, "their changes differ");
}

TEST_F(DeltaExact, ADeltaUnderOneNameOfATieReachesBothInTheMirror) {
  for (const char* name : {kEmbed, kHead}) {
    start("none", config_of(16, 24));
    hold_both_names_of_the_tie();
    load();
    TensorDelta one = delta(kEmbed, {{5, 7.0f}});
    one.name = name;
    ASSERT_TRUE(commit_deltas(*live_[0], {one}));
    now_ = with(kEmbed, {{5, 7.0f}});
    hold_both_names_of_the_tie();
    expect_cold();
    expect_mirrored(now_);
  }
}

TEST_F(DeltaExact, AMirrorThatHoldsTheOtherNameOfATieOnlyFollows) {
  start("none", config_of(16, 24));
  Weights held = load_with_the_tie_under_its_other_name();
  ASSERT_TRUE(put_changes(*live_[0], now_, with(kEmbed, {{5, 7.0f}})));
  held.set(kHead, 5, 7.0f);
  expect_mirrored(held);
}

TEST_F(DeltaExact, AMirrorThatHoldsTheOtherNameOfATieOnlyFollowsAWholeTensor) {
  start("none", config_of(16, 24));
  Weights held = load_with_the_tie_under_its_other_name();
  now_ = with(kEmbed, {{5, 7.0f}});
  held.set(kHead, 5, 7.0f);
  UpdateOptions options;
  options.scope = {kEmbed};
  auto update = live_[0]->begin_update(options).value();
  ASSERT_TRUE(update.put(kEmbed, now_.view(kEmbed)));
  const auto report = update.commit();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->in_mirror);
  expect_cold();
  expect_mirrored(held);
}

// So that a version without a name is not taken for any other one.
TEST_F(DeltaExact, AMirrorThatMovedOnToAVersionWithoutANameIsRefused) {
  start("int8_per_channel", config_of(16, 24));
  load();
  const auto path = folder_.path() / "mirror";
  const auto mine = Mirror::open(path).value();
  ASSERT_TRUE(mine->replace(write_checkpoint(folder_.path(), now_), same_name, ""));
  ASSERT_TRUE(live_[0]->attach_mirror(mine));
  const auto other = Mirror::open(path).value();
  const TensorDelta change = delta(kUp, {{20, 3.0f}});
  ASSERT_TRUE(other->record({change}, "", other->sequence()));
  expect_refused(commit_deltas(*live_[0], {change}), ErrorCode::kFailedState,
                 "the mirror does not hold version 1");
}

}  // namespace
}  // namespace liveweight::testing
