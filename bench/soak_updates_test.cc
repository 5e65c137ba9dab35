#include "bench/soak_updates.h"

#include <gmock/gmock.h>

#include <set>

namespace liveweight::bench {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SoakUpdatesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    load_.quantization = QuantizationConfig::uniform(parse_scheme("fp8_per_block").value());
    const auto directory =
        open_model_directory(LIVEWEIGHT_SOURCE_DIR "/samples/addition/checkpoints/step_02500").value();
    EngineOptions engine;
    engine.max_tokens = 64;
    auto made = SoakVersions::make(directory, load_, engine, 5);
    ASSERT_TRUE(made) << made.error().message;
    versions_.emplace(std::move(*made));
  }
  static void TearDownTestSuite() { versions_.reset(); }

  static std::unique_ptr<LiveModel> load(size_t version) {
    load_.label = versions_->all()[0].name;
    return load_model(open_model_directory(versions_->all()[version].directory).value(), load_).value();
  }
  static SoakUpdates updates_of(LiveModel& model, uint64_t seed) {
    const std::string mirror = versions_->mirror_directory().string() + std::to_string(++mirrors_);
    return {model, *versions_, Mirror::open(mirror).value(), seed};
  }

  inline static int mirrors_ = 0;  // each model has its own
  inline static LoadOptions load_;
  inline static std::optional<SoakVersions> versions_;
};

TEST_F(SoakUpdatesTest, nine_versions_differ_in_their_digests_and_in_some_of_their_answers) {
  std::set<std::string> digests;
  std::set<std::vector<float>> logprobs;
  for (const SoakVersion& version : versions_->all()) {
    digests.insert(version.digest.hex());
    logprobs.insert(version.answers[0].logprobs);
  }
  EXPECT_EQ(digests.size(), 9u);
  EXPECT_EQ(logprobs.size(), 9u);
}

TEST_F(SoakUpdatesTest, all_kinds_come_and_each_to_what_it_has_to) {
  const auto model = load(0);
  SoakUpdates updates = updates_of(*model, 1);
  std::array<int, kSoakKinds> seen{};
  for (int i = 0; i < 400; ++i) {
    const Result<SoakEvent> event = updates.next();
    ASSERT_TRUE(event) << i << ": " << event.error().message;
    ++seen[static_cast<size_t>(event->kind)];
    const Status equal = updates.check_digest();
    ASSERT_TRUE(equal) << i << ", " << to_string(event->kind) << ": " << equal.error().message;
  }
  EXPECT_THAT(seen, testing::Each(testing::Gt(0)));
}

TEST_F(SoakUpdatesTest, equal_seeds_draw_the_same) {
  const auto first = load(0), second = load(0);
  SoakUpdates one = updates_of(*first, 3), other = updates_of(*second, 3);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(one.next().value().kind, other.next().value().kind);
}

TEST_F(SoakUpdatesTest, a_model_of_other_weights_is_told_by_its_digest) {
  const auto model = load(1);
  const Status equal = updates_of(*model, 1).check_digest();
  ASSERT_FALSE(equal);
  EXPECT_THAT(equal.error().message, StartsWith("version 1 (0-full): a cold load gives the digest "));
}

TEST_F(SoakUpdatesTest, a_version_that_came_from_elsewhere_is_told_by_its_number) {
  const auto model = load(0);
  SoakUpdates updates = updates_of(*model, 1);
  const auto checkpoint = Checkpoint::open(versions_->all()[3].directory).value();
  ASSERT_TRUE(reload(*model, checkpoint));
  const Result<SoakEvent> event = updates.next();
  ASSERT_FALSE(event);
  EXPECT_THAT(event.error().message, HasSubstr("expected the model to be at version"));
}

}  // namespace
}  // namespace liveweight::bench
