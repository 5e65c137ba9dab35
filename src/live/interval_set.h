// Which elements of a tensor have come: disjoint half-open intervals, merged where they touch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

namespace liveweight {

class IntervalSet {
 public:
  // Adds [begin, end); false, and no change, where any of it is there already.
  bool add(int64_t begin, int64_t end);

  bool covers(int64_t begin, int64_t end) const;
  bool empty() const { return !several_ && alone_.begin == alone_.end; }

  struct Interval {
    int64_t begin = 0;
    int64_t end = 0;
  };
  // The first interval of [0, size) that is missing.
  std::optional<Interval> first_gap(int64_t size) const;

 private:
  using Several = std::map<int64_t, int64_t>;  // begin -> end
  static bool add(Several& intervals, int64_t begin, int64_t end);

  Interval alone_;                    // until there are more: most sets never have
  std::unique_ptr<Several> several_;  // all of them, then
};

}  // namespace liveweight
