// Many small jobs on all threads; of those that fail, the error of the first in order.
#pragma once

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

}  // namespace liveweight
