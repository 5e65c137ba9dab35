#include "live/interval_set.h"

#include <iterator>

namespace liveweight {

bool IntervalSet::add(int64_t begin, int64_t end) {
  if (begin >= end) return true;
  if (several_) return add(*several_, begin, end);
  if (begin < alone_.end && alone_.begin < end) return false;
  if (empty()) {
    alone_ = {begin, end};
  } else if (end == alone_.begin) {
    alone_.begin = begin;
  } else if (begin == alone_.end) {
    alone_.end = end;
  } else {
    several_ = std::make_unique<Several>(Several{{alone_.begin, alone_.end}, {begin, end}});
  }
  return true;
}

bool IntervalSet::add(Several& intervals, int64_t begin, int64_t end) {
  auto next = intervals.lower_bound(begin);
  if (next != intervals.end() && next->first < end) return false;
  const auto before = next == intervals.begin() ? intervals.end() : std::prev(next);
  if (before != intervals.end() && before->second > begin) return false;
  const bool joins_before = before != intervals.end() && before->second == begin;
  if (next != intervals.end() && next->first == end) {
    end = next->second;
    intervals.erase(next);
  }
  if (joins_before) {
    before->second = end;
  } else {
    intervals.emplace(begin, end);
  }
  return true;
}

bool IntervalSet::covers(int64_t begin, int64_t end) const {
  if (begin >= end) return true;
  if (!several_) return alone_.begin <= begin && end <= alone_.end;
  const auto after = several_->upper_bound(begin);
  return after != several_->begin() && std::prev(after)->second >= end;
}

std::optional<IntervalSet::Interval> IntervalSet::first_gap(int64_t size) const {
  // The first gap is before the first interval or right behind it, as intervals that touch are one.
  Interval first = alone_;
  int64_t next = size;
  if (several_) {
    first = {several_->begin()->first, several_->begin()->second};
    if (several_->size() > 1) next = std::next(several_->begin())->first;
  }
  if (first.begin > 0) return Interval{0, first.begin};
  if (first.end < size) return Interval{first.end, next};
  return std::nullopt;
}

}  // namespace liveweight
