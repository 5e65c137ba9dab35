#include "bench/soak.h"

#include <gmock/gmock.h>

namespace liveweight::bench {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

SoakOptions short_soak(CommitMode mode) {
  SoakOptions options;
  options.directory = LIVEWEIGHT_SOURCE_DIR "/samples/addition/checkpoints/step_02500";
  options.mode = mode;
  options.seconds = 1;
  options.tick_seconds = 0.01;
  options.clients = 4;
  return options;
}

TEST(SoakLog, tells_the_least_memory_of_a_stretch) {
  SoakLog log(1e6, 4);
  for (const uint64_t bytes : {50, 30, 70}) log.note_memory(bytes);
  EXPECT_EQ(log.least_memory(0, 1), 30u);
  EXPECT_EQ(log.least_memory(1, 1e6), 0u);
  EXPECT_EQ(log.intervals().front().private_bytes, 30u);
}

TEST(Soak, keeps_every_promise_and_counts_what_it_did) {
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy}) {
    double told = 0;
    const auto report = run_soak(short_soak(mode), [&](double seconds) { told = seconds; });
    ASSERT_TRUE(report) << report.error().message;
    // A sanitizer's own memory grows.
    EXPECT_THAT(report->broken, AnyOf(IsEmpty(), HasSubstr("private memory grew")));
    EXPECT_EQ(report->failed_steps, 0);
    EXPECT_TRUE(report->addresses_unchanged);
    int64_t events = 0, in_intervals = 0;
    for (const int64_t count : report->log->events()) events += count;
    uint64_t steps = 0;
    for (const SoakInterval& interval : report->log->intervals()) {
      for (const int64_t count : interval.events) in_intervals += count;
      steps += interval.steps.count();
    }
    EXPECT_GT(events, 0);
    EXPECT_EQ(events, report->digests_checked);
    EXPECT_EQ(events, in_intervals);
    EXPECT_EQ(steps, report->log->steps().count());
    EXPECT_GE(steps, report->log->quiet_steps().count() + report->log->steps_beside_updates().count());
    EXPECT_GT(report->tokens_compared, 0);
    EXPECT_GT(told, 0);
  }
}

TEST(Soak, that_runs_over_its_time_has_the_memory_of_its_end_and_no_growth_where_the_warm_up_had_no_update) {
  SoakOptions options = short_soak(CommitMode::kFlip);
  options.seconds = 1e-6;  // over before the first tick
  options.tick_seconds = 0.1;
  const auto report = run_soak(options, [](double) {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->seconds, options.seconds);
  EXPECT_EQ(report->warm_bytes, 0u);
  EXPECT_GT(report->end_bytes, 0u);
  EXPECT_EQ(report->growth_bytes(), 0);
  EXPECT_EQ(report->broken, "");
}

TEST(Soak, in_a_mode_without_a_second_slot_is_refused) {
  const auto report = run_soak(short_soak(CommitMode::kInPlace), [](double) {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace liveweight::bench
