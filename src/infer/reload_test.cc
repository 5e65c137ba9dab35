// Generation beside reloads: nothing moves, no step mixes versions, and every token says of which version it
// is.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <ostream>
#include <set>
#include <thread>

#include "infer/live_fixture.h"
#include "infer/random.h"

namespace liveweight {
namespace {

struct Setting {
  const char* name;
  CommitMode mode;
  Capture capture;
};

void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.name;
}

class ReloadTest : public LiveTest, public testing::WithParamInterface<Setting> {
 protected:
  static EngineOptions options() {
    EngineOptions options;
    options.capture = GetParam().capture;
    return options;
  }

  static void expect_contiguous(const std::vector<VersionSpan>& spans, int64_t tokens) {
    int64_t end = 0;
    for (size_t i = 0; i < spans.size(); ++i) {
      EXPECT_EQ(spans[i].start, end);
      EXPECT_LT(spans[i].start, spans[i].end);
      if (i > 0) {
        EXPECT_LT(spans[i - 1].version.number, spans[i].version.number);
      }
      end = spans[i].end;
    }
    EXPECT_EQ(end, tokens);
  }

  static std::vector<int32_t> cold_tokens(const std::string& name, const char* scheme) {
    const auto model = load(name, scheme);
    return engine_of(*model)->generate(greedy({1}, 40)).value().tokens;
  }
};

TEST_P(ReloadTest, the_captured_step_runs_the_new_weights_and_holds_the_same_addresses) {
  for (const char* scheme :
       {"none", "int8_per_channel", "int4_per_group", "fp8_per_tensor", "fp8_per_block"}) {
    const auto model = load("stories260k-bf16", scheme, GetParam().mode);
    const auto engine = engine_of(*model, options());
    const auto addresses = engine->addresses();
    for (const char* name :
         {"finetune/good", "trajectory/step_003", "finetune/good", "trajectory/step_009"}) {
      ASSERT_TRUE(reload_from(*model, name));
      EXPECT_EQ(engine->generate(greedy({1}, 40)).value().tokens, cold_tokens(name, scheme))
          << scheme << " " << name;
      EXPECT_EQ(engine->addresses(), addresses);
    }
  }
}

TEST_P(ReloadTest, a_reload_between_steps_begins_a_version_span) {
  const auto model = load("stories260k-bf16", "int8_per_channel", GetParam().mode);
  const auto engine = engine_of(*model, options());
  Completion finished;
  RequestCallbacks callbacks;
  callbacks.on_finish = [&](const Completion& completion) { finished = completion; };
  ASSERT_TRUE(engine->submit(greedy({1}, 10), callbacks));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine->step().value());
  ASSERT_TRUE(reload_from(*model, "trajectory/step_001"));
  ASSERT_TRUE(engine->run_until_idle());
  ASSERT_EQ(finished.versions.size(), 2u);
  EXPECT_EQ(finished.versions[0].start, 0);
  EXPECT_EQ(finished.versions[0].end, 4);
  EXPECT_EQ(finished.versions[0].version.label, "stories260k-bf16");
  EXPECT_EQ(finished.versions[1].start, 4);
  EXPECT_EQ(finished.versions[1].end, 10);
  EXPECT_EQ(finished.versions[1].version.number, finished.versions[0].version.number + 1);
  EXPECT_EQ(finished.versions[1].version.label, "trajectory/step_001");
}

// Scores are of one snapshot, and so is a completion's first span, which no key or value of another version
// precedes: both must have exactly the bits of the version they are of.
TEST_P(ReloadTest, what_runs_beside_reloads_is_of_the_version_that_it_names) {
  const std::string names[] = {"trajectory/step_000", "finetune/good"};
  const std::vector<int32_t> text = {1, 403, 407, 261, 378, 432, 383, 286};
  std::map<std::string, Completion> cold;
  std::vector<std::vector<float>> cold_logits;
  for (const std::string& name : names) {
    const auto model = load(name, "int8_per_channel");
    cold[name] = engine_of(*model)->generate(greedy({1}, 40)).value();
    cold_logits.push_back(all_logits(*engine_of(*model), text));
  }
  const auto model = load(names[0], "int8_per_channel", GetParam().mode);
  const auto engine = engine_of(*model, options());
  std::atomic<bool> done{false};
  std::thread reloader([&] {
    // At random: commits fall into step with the rounds below, and turns would always meet the same one.
    for (Random random(1); !done;) {
      const auto report = reload_from(*model, names[random.next() % 2]);
      EXPECT_TRUE(report) << report.error().message;
    }
  });
  std::set<std::string> seen;
  for (int round = 0; round < 500 && (round < 20 || seen.size() < 2); ++round) {
    EXPECT_THAT(cold_logits, testing::Contains(all_logits(*engine, text)));
    const auto completions = engine->generate(std::vector<Request>(4, greedy({1}, 40)));
    EXPECT_TRUE(completions) << completions.error().message;
    if (!completions) break;
    for (const Completion& completion : *completions) {
      const std::string& label = completion.versions[0].version.label;
      seen.insert(label);
      const int64_t end = completion.versions[0].end;
      EXPECT_TRUE(std::equal(completion.logprobs.begin(), completion.logprobs.begin() + end,
                             cold[label].logprobs.begin()));
      expect_contiguous(completion.versions, 40);
    }
  }
  done = true;
  reloader.join();
  EXPECT_EQ(seen.size(), 2u);
}

TEST_P(ReloadTest, a_refused_update_leaves_the_tokens_as_they_were) {
  const auto model = load("trajectory/step_000", "fp8_per_channel", GetParam().mode);
  const auto engine = engine_of(*model, options());
  const auto before = engine->generate(greedy({1}, 30)).value();
  const auto addresses = engine->addresses();
  for (const char* bad : {"finetune/bad-nan", "finetune/bad-missing", "finetune/bad-shape"}) {
    EXPECT_FALSE(reload_from(*model, bad));
    const auto after = engine->generate(greedy({1}, 30)).value();
    EXPECT_EQ(after.tokens, before.tokens) << bad;
    EXPECT_EQ(after.logprobs, before.logprobs) << bad;
    EXPECT_EQ(engine->addresses(), addresses);
  }
}

INSTANTIATE_TEST_SUITE_P(modes, ReloadTest,
                         testing::Values(Setting{"flip", CommitMode::kFlip, Capture::kTable},
                                         Setting{"copy", CommitMode::kCopy, Capture::kTable},
                                         Setting{"copy_slots", CommitMode::kCopy, Capture::kSlotAddresses},
                                         Setting{"in_place_slots", CommitMode::kInPlace,
                                                 Capture::kSlotAddresses}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace liveweight
