// Threads that do the same again and again.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace liveweight {

class RepeatingThreads {
 public:
  // Each thread calls once(n), where n counts the calls of all of them, until `stop` or, for that thread,
  // until it gives false. What `once` uses must outlive this.
  RepeatingThreads(int threads, std::function<bool(size_t)> once);
  ~RepeatingThreads();
  RepeatingThreads(const RepeatingThreads&) = delete;
  RepeatingThreads& operator=(const RepeatingThreads&) = delete;

  // Waits for the calls that are running. Safe to call again.
  void stop();

 private:
  const std::function<bool(size_t)> once_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> next_{0};
  std::vector<std::thread> threads_;
};

}  // namespace liveweight
