// Worker threads. The one pool of the process has LIVEWEIGHT_THREADS threads (all processors that the process
// may use where it is not set); the caller of parallel_for is one of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace liveweight {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(i) once for each i in [0, count), shared out among the threads as they become free; returns
  // when all are done. Where a body throws, those that were not begun are left out and the first exception is
  // thrown again here. Thread-safe: calls from several threads take turns. A body must not call parallel_for.
  void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

  // The process's pool for compute, made on first use.
  static ThreadPool& shared();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// How many threads ThreadPool::shared() has or will have. `set_default_threads` (0: automatic) counts only
// before its first use.
int default_threads();
void set_default_threads(int threads);

// Whether pools that are made from now on bind their thread i to processor i of those allowed, in turn; the
// caller's own thread, which is thread 0, is never bound. Without a choice (nullopt) LIVEWEIGHT_PIN_THREADS=1
// says so.
bool pin_threads();
void set_pin_threads(std::optional<bool> pin);

}  // namespace liveweight
