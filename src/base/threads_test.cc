#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace liveweight {
namespace {

TEST(ThreadPool, EveryItemRunsExactlyOnce) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> runs(round);
    pool.parallel_for(round, [&](int64_t i) { ++runs[i]; });
    for (const auto& count : runs) EXPECT_EQ(count, 1);
  }
}

TEST(ThreadPool, CallsFromSeveralThreadsTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) pool.parallel_for(10, [&](int64_t i) { sum += i; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 50 * 45);
}

TEST(ThreadPool, ThrowsInItsCallerWhatABodyThrewAndGoesOnAfterwards) {
  ThreadPool pool(4);
  for (const int64_t thrower : {0, 7, 99}) {
    const auto body = [&](int64_t i) {
      if (i == thrower) throw std::runtime_error("body " + std::to_string(i));
    };
    EXPECT_THROW(pool.parallel_for(100, body), std::runtime_error);
    std::atomic<int> runs{0};
    pool.parallel_for(100, [&](int64_t) { ++runs; });
    EXPECT_EQ(runs, 100);
  }
}

}  // namespace
}  // namespace liveweight
