// How long a soak's steps took, beside updates and without, and over time. Of a size that is fixed when it
// begins: memory over time is one of the things that a soak measures.
#pragma once

#include <atomic>
#include <vector>

#include "base/clock.h"
#include "bench/histogram.h"
#include "bench/soak_updates.h"

namespace liveweight::bench {

// A stretch of the soak.
struct SoakInterval {
  Histogram steps, steps_beside_updates;  // nanoseconds
  std::array<int64_t, 4> events{};        // by SoakOutcome
  uint64_t private_bytes = 0;             // the least in it; 0: none was noted
};

class SoakLog {
 public:
  SoakLog(double seconds, size_t intervals);

  // On the thread that steps.
  void step_begins();
  void step_ends();

  // On the thread that updates. Steps that overlap an update count as beside it; those that overlap a check
  // of digests, and no update, count as neither.
  void update_begins() { ++update_marks_; }
  void update_ends(const SoakEvent& event);
  void check_begins() { ++check_marks_; }
  void check_ends() { ++check_marks_; }
  void note_memory(uint64_t private_bytes);

  double seconds() const { return seconds_since(begin_); }

  // When all threads have stopped.
  const Histogram& steps() const { return steps_; }
  const Histogram& quiet_steps() const { return quiet_; }
  const Histogram& steps_beside_updates() const { return beside_; }
  const Histogram& pauses() const { return pauses_; }  // nanoseconds
  const std::array<int64_t, kSoakKinds>& events() const { return events_; }
  const std::vector<SoakInterval>& intervals() const { return intervals_; }
  // The least private memory of the intervals that begin in [begin, end), in seconds; 0 where none was noted.
  uint64_t least_memory(double begin, double end) const;
  double interval_seconds() const { return interval_seconds_; }

 private:
  SoakInterval& interval();

  const Clock::time_point begin_ = Clock::now();
  const double interval_seconds_;
  std::vector<SoakInterval> intervals_;
  // Odd while one is running.
  std::atomic<uint64_t> update_marks_{0}, check_marks_{0};
  uint64_t update_mark_ = 0, check_mark_ = 0;  // when the step began
  Clock::time_point step_begin_;
  Histogram steps_, quiet_, beside_, pauses_;
  std::array<int64_t, kSoakKinds> events_{};
};

}  // namespace liveweight::bench
