#include "live/parallel_jobs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace liveweight {
namespace {

constexpr std::chrono::milliseconds kMoment{20};
constexpr std::chrono::seconds kLong{2};

bool wait_for(const std::atomic<bool>& what) {
  const auto end = std::chrono::steady_clock::now() + kLong;
  while (!what && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return what;
}

TEST(ParallelJobs, GiveTheErrorOfTheFirstInOrderAlthoughALaterOneFailsLast) {
  std::atomic<bool> later_began{false}, first_failed{false};
  const Status status = run_jobs(2, [&](int64_t i) -> Status {
    if (i == 0) {
      wait_for(later_began);  // never, where there is one thread only: then the first fails alone
      first_failed = true;
      return fail(ErrorCode::kInternal, "the first");
    }
    later_began = true;
    wait_for(first_failed);
    std::this_thread::sleep_for(kMoment);  // until that is noted
    return fail(ErrorCode::kInternal, "a later one");
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "the first");
}

TEST(ParallelJobs, GiveTheErrorOfTheFirstInOrderAlthoughALaterOneFailsBefore) {
  std::atomic<bool> later_failed{false};
  const Status status = run_jobs(2, [&](int64_t i) -> Status {
    if (i == 1) {
      later_failed = true;
      return fail(ErrorCode::kInternal, "a later one");
    }
    wait_for(later_failed);
    std::this_thread::sleep_for(kMoment);
    return fail(ErrorCode::kInternal, "the first");
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "the first");
}

TEST(ParallelJobs, SmallOnesAllRunOnceHoweverManyAThreadTakes) {
  for (const int64_t count : {0, 1, 16, 37}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    ASSERT_TRUE(run_small_jobs(count, 16, [&](int64_t i) -> Status {
      ++runs[static_cast<size_t>(i)];
      return {};
    }));
    for (const auto& each : runs) EXPECT_EQ(each, 1);
  }
}

}  // namespace
}  // namespace liveweight
