#include "bench/soak_log.h"

#include <algorithm>

namespace liveweight::bench {
namespace {

bool overlaps(uint64_t mark_at_begin, uint64_t mark_at_end) {
  return mark_at_begin % 2 == 1 || mark_at_begin != mark_at_end;
}

// 0: none.
uint64_t least_of(uint64_t a, uint64_t b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

}  // namespace

SoakLog::SoakLog(double seconds, size_t intervals)
    : interval_seconds_(seconds / static_cast<double>(intervals)), intervals_(intervals) {}

// The last one also has what comes after the time is over.
SoakInterval& SoakLog::interval() {
  const auto index = static_cast<size_t>(seconds() / interval_seconds_);
  return intervals_[std::min(index, intervals_.size() - 1)];
}

void SoakLog::step_begins() {
  update_mark_ = update_marks_;
  check_mark_ = check_marks_;
  step_begin_ = Clock::now();
}

void SoakLog::step_ends() {
  const auto took = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - step_begin_).count());
  SoakInterval& now = interval();
  steps_.add(took);
  now.steps.add(took);
  if (overlaps(update_mark_, update_marks_)) {
    beside_.add(took);
    now.steps_beside_updates.add(took);
  } else if (!overlaps(check_mark_, check_marks_)) {
    quiet_.add(took);
  }
}

void SoakLog::update_ends(const SoakEvent& event) {
  ++update_marks_;
  ++events_[static_cast<size_t>(event.kind)];
  ++interval().events[static_cast<size_t>(outcome_of(event.kind))];
  if (event.pause_us) pauses_.add(static_cast<uint64_t>(*event.pause_us * 1e3));
}

void SoakLog::note_memory(uint64_t private_bytes) {
  uint64_t& least = interval().private_bytes;
  least = least_of(least, private_bytes);
}

uint64_t SoakLog::least_memory(double begin, double end) const {
  uint64_t least = 0;
  for (size_t i = 0; i < intervals_.size(); ++i) {
    const double at = static_cast<double>(i) * interval_seconds_;
    if (at >= begin && at < end) least = least_of(least, intervals_[i].private_bytes);
  }
  return least;
}

}  // namespace liveweight::bench
