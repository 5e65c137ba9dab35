// Many small jobs on all threads; of those that fail, the error of the first in order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/threads.h"
#include "liveweight/error.h"

namespace liveweight {

// Calls job(i) -> Status for i in [0, count). After a failure, jobs that come later in order are skipped.
template <typename Job>
Status run_jobs(int64_t count, const Job& job) {
  if (count == 1) return job(0);
  std::atomic<int64_t> first_failed{count};
  std::optional<Error> error;
  std::mutex mutex;
  ThreadPool::shared().parallel_for(count, [&](int64_t i) {
    if (i > first_failed.load(std::memory_order_relaxed)) return;
    Status status = job(i);
    if (status) return;
    std::lock_guard lock(mutex);
    if (i >= first_failed) return;
    first_failed = i;
    error = std::move(status).error();
  });
  if (error) return tl::unexpected(std::move(*error));
  return {};
}

// The same for jobs so small that a thread takes `at_a_time` of them.
template <typename Job>
Status run_small_jobs(int64_t count, int64_t at_a_time, const Job& job) {
  return run_jobs((count + at_a_time - 1) / at_a_time, [&](int64_t part) -> Status {
    const int64_t begin = part * at_a_time;
    for (int64_t i = begin; i < std::min(begin + at_a_time, count); ++i) LW_TRY(job(i));
    return {};
  });
}

}  // namespace liveweight
