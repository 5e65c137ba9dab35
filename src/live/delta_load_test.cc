// Delta directories into a live model: what must fit, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delta_fixture.h"
#include "liveweight/load.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";      // [24, 16]
constexpr const char* kGate = "model.layers.0.mlp.gate_proj.weight";  // fused with it
constexpr const char* kIgnored = "model.layers.0.self_attn.rotary_emb.inv_freq";

class DeltaLoad : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    live_ = make_model(model_, now_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, now_));
    mirror_ = Mirror::open(mirror_path()).value();
    ASSERT_TRUE(mirror_->replace(write_checkpoint(folder_.path(), now_), same_name, "0"));
    ASSERT_TRUE(live_->attach_mirror(mirror_));
    next_ = now_;
    next_.set(kUp, 20, 3.0f);
  }

  std::filesystem::path mirror_path() const { return folder_.path() / "mirror"; }

  // A delta from `old` to `next_`, and more in it.
  DeltaDirectory delta(DeltaEncoding encoding, const Weights& old, const Weights& more = {}) {
    DeltaWriteOptions options;  // from version 0 to version 1
    options.encoding = encoding;
    const auto path = folder_.path() / "delta";
    auto writer = DeltaWriter::create(path, options).value();
    for (const auto& [name, entry] : old.tensors) {
      EXPECT_TRUE(writer.add(name, old.view(name), next_.view(name)));
    }
    for (const auto& [name, entry] : more.tensors) {
      const std::vector<std::byte> zeros(entry.bytes.size());
      EXPECT_TRUE(writer.add(name, {entry.dtype, entry.shape, zeros.data(), zeros.size()}, more.view(name)));
    }
    EXPECT_TRUE(writer.finish());
    return DeltaDirectory::open(path).value();
  }

  void expect_refused(const Result<DeltaReport>& report, ErrorCode code, const std::string& text) {
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_THAT(report.error().message, HasSubstr(text));
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, now_, options_));
    EXPECT_EQ(live_->version().number, 1u);
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama()};
  const Weights now_ = model_.weights(random_);
  Weights next_;
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(DeltaLoad, OfAnotherBaseVersionIsRefused) {
  expect_refused(reload_delta(*live_, delta(DeltaEncoding::kIndices, now_), "5"), ErrorCode::kStaleVersion,
                 "it applies on version 0, but the model is at 5");
}

TEST_F(DeltaLoad, LabelsTheModelWithTheDeltasVersionUnlessTheCallerHasALabel) {
  const DeltaDirectory directory = delta(DeltaEncoding::kIndices, now_);
  ASSERT_TRUE(reload_delta(*live_, directory, "0"));
  EXPECT_EQ(live_->version().label, "1");
  EXPECT_EQ(mirror_->version(), "1");
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next_, options_));
  UpdateOptions mine;
  mine.label = "mine";
  ASSERT_TRUE(reload_delta(*live_, directory, "", {}, mine));
  EXPECT_EQ(live_->version().label, "mine");
}

TEST_F(DeltaLoad, WhoseResultHasAnotherChecksumIsRefused) {
  for (const DeltaEncoding encoding : {DeltaEncoding::kXor, DeltaEncoding::kOverwrite}) {
    Weights other = now_;
    other.set(kUp, 21, 0.75f);  // the delta does not bring it, as both of its sides have it
    next_.set(kUp, 21, 0.75f);
    expect_refused(reload_delta(*live_, delta(encoding, other), "0"), ErrorCode::kDigestMismatch, kUp);
    std::filesystem::remove_all(folder_.path() / "delta");
  }
}

TEST_F(DeltaLoad, PassesOverTensorsThatNoRuntimeLoads) {
  Weights more;
  more.tensors[kIgnored] = {DType::kF32, {4}, std::vector<std::byte>(16, std::byte{63})};
  const auto report = reload_delta(*live_, delta(DeltaEncoding::kIndices, now_, more), "0");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->update.tensors, 1);
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next_, options_));
}

TEST_F(DeltaLoad, OfATensorThatTheModelHasNotIsRefused) {
  Weights more;
  more.tensors["model.other.weight"] = {DType::kF32, {4}, std::vector<std::byte>(16, std::byte{63})};
  expect_refused(reload_delta(*live_, delta(DeltaEncoding::kIndices, now_, more), "0"),
                 ErrorCode::kUnknownTensor,
                 "delta: tensor model.other.weight: the model has none of that name");
}

TEST_F(DeltaLoad, OfATieUnderEitherOfItsNamesFindsTheOldValuesThatTheMirrorHas) {
  constexpr const char *kEmbedding = "model.embed_tokens.weight", *kHead = "lm_head.weight";
  next_ = now_;
  next_.set(kEmbedding, 20, 3.0f);
  const Checkpoint checkpoint = write_checkpoint(folder_.path(), now_);
  for (const std::string mirrored : {kEmbedding, kHead}) {
    for (const char* changed : {kEmbedding, kHead}) {
      const auto live = make_model(model_, now_.catalog(), options_).value();
      ASSERT_TRUE(put_all(*live, now_));
      const auto mirror = Mirror::in_memory(checkpoint, [&](std::string_view name) {
        return Result<std::string>(name == kEmbedding ? mirrored : std::string(name));
      });
      ASSERT_TRUE(live->attach_mirror(mirror.value()));
      DeltaWriteOptions xored;
      xored.encoding = DeltaEncoding::kXor;
      const auto path = folder_.path() / "tied" / mirrored / changed;
      std::filesystem::create_directories(path.parent_path());
      auto writer = DeltaWriter::create(path, xored).value();
      ASSERT_TRUE(writer.add(changed, now_.view(kEmbedding), next_.view(kEmbedding)));
      ASSERT_TRUE(writer.finish());
      const auto report = reload_delta(*live, DeltaDirectory::open(path).value(), "0");
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(digest_of(*live)->model, cold_digest(model_, next_, options_)) << mirrored << " " << changed;
    }
  }
}

TEST_F(DeltaLoad, BringsAllThatItNamesBesideTheScopeOfTheCaller) {
  next_.set(kGate, 20, 4.0f);
  UpdateOptions options;
  options.scope = {kUp};
  const auto report = reload_delta(*live_, delta(DeltaEncoding::kIndices, now_), "0", {}, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next_, options_));
}

TEST_F(DeltaLoad, IsTakenWhereAnotherRankHasPutItIntoTheMirrorAlready) {
  for (const DeltaEncoding encoding :
       {DeltaEncoding::kXor, DeltaEncoding::kOverwrite, DeltaEncoding::kIndices}) {
    SetUp();
    next_.set(kGate, 20, 0.001f);
    const auto other = Mirror::open(mirror_path()).value();
    ASSERT_TRUE(other->record(deltas_between(now_, next_), "1", other->sequence()));
    ASSERT_TRUE(other->settle());
    const auto report = reload_delta(*live_, delta(encoding, now_), "0");
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->update.in_mirror);
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, next_, options_));
    expect_holds(*mirror_, next_);
    std::filesystem::remove_all(folder_.path() / "delta");
  }
}

TEST_F(DeltaLoad, OnAMirrorThatIsNotAtItsBaseIsRefusedAndSaysWhereTheMirrorIs) {
  Weights far = next_;
  far.set(kUp, 20, 0.5f);
  ASSERT_TRUE(mirror_->record(deltas_between(now_, far), "2", mirror_->sequence()));
  ASSERT_TRUE(mirror_->settle());
  const auto report = reload_delta(*live_, delta(DeltaEncoding::kXor, now_), "0");
  expect_refused(report, ErrorCode::kFailedState, "xor needs the values before it: the mirror does not hold");
  EXPECT_THAT(report.error().message, HasSubstr("(it is at version \"2\")"));
}

TEST_F(DeltaLoad, OnAMirrorThatAWholeUpdateLeftBehindIsRefusedAndSaysWhatToDo) {
  Weights base = now_;
  base.set(kUp, 30, 0.5f);
  next_ = base;
  next_.set(kUp, 20, 3.0f);
  ASSERT_TRUE(put_all(*live_, base));
  for (const DeltaEncoding encoding : {DeltaEncoding::kXor, DeltaEncoding::kOverwrite}) {
    const auto report = reload_delta(*live_, delta(encoding, base), "0");
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kFailedState) << report.error().message;
    EXPECT_THAT(report.error().message, HasSubstr("the current one: replace it with that one's checkpoint"));
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, base, options_));
    std::filesystem::remove_all(folder_.path() / "delta");
  }
}

}  // namespace
}  // namespace liveweight::testing
