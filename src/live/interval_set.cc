#include "live/interval_set.h"

#include <iterator>

namespace liveweight {

bool IntervalSet::add(int64_t begin, int64_t end) {
  if (begin >= end) return true;
  auto next = intervals_.lower_bound(begin);
  if (next != intervals_.end() && next->first < end) return false;
  const auto before = next == intervals_.begin() ? intervals_.end() : std::prev(next);
  if (before != intervals_.end() && before->second > begin) return false;
  const bool joins_before = before != intervals_.end() && before->second == begin;
  if (next != intervals_.end() && next->first == end) {
    end = next->second;
    intervals_.erase(next);
  }
  if (joins_before) {
    before->second = end;
  } else {
    intervals_.emplace(begin, end);
  }
  return true;
}

bool IntervalSet::covers(int64_t begin, int64_t end) const {
  if (begin >= end) return true;
  const auto after = intervals_.upper_bound(begin);
  return after != intervals_.begin() && std::prev(after)->second >= end;
}

std::optional<IntervalSet::Gap> IntervalSet::first_gap(int64_t size) const {
  int64_t covered = 0;
  for (const auto& [begin, end] : intervals_) {
    if (begin > covered) return Gap{covered, begin};
    covered = end;
  }
  if (covered < size) return Gap{covered, size};
  return std::nullopt;
}

}  // namespace liveweight
