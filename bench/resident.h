// How much private memory the process holds, by the kernel's count.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace liveweight::bench {

uint64_t anonymous_bytes();  // RssAnon of /proc/self/status; 0 where it cannot be read

// Samples anonymous_bytes() until it is stopped.
class PeakSampler {
 public:
  PeakSampler();
  ~PeakSampler();
  uint64_t growth();  // of the peak over what was there at the beginning; stops sampling

 private:
  const uint64_t begin_;
  std::atomic<uint64_t> peak_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace liveweight::bench
