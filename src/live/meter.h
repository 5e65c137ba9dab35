// Counts the bytes that an update holds beside its slots, against its budget. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace liveweight {

class MemoryMeter {
 public:
  explicit MemoryMeter(uint64_t limit_bytes) : limit_(limit_bytes) {}

  // False, and nothing is counted, where it would pass the limit.
  bool charge(uint64_t bytes) {
    const uint64_t now = current_.fetch_add(bytes) + bytes;
    if (now > limit_) {
      current_ -= bytes;
      return false;
    }
    for (uint64_t peak = peak_; now > peak && !peak_.compare_exchange_weak(peak, now);) {
    }
    return true;
  }

  void release(uint64_t bytes) { current_ -= bytes; }
  uint64_t peak() const { return peak_; }
  uint64_t limit() const { return limit_; }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> current_{0};
  std::atomic<uint64_t> peak_{0};
};

}  // namespace liveweight
