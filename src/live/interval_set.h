// Which elements of a tensor have come: disjoint half-open intervals, merged where they touch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace liveweight {

class IntervalSet {
 public:
  // Adds [begin, end); false, and no change, where any of it is there already.
  bool add(int64_t begin, int64_t end);

  bool covers(int64_t begin, int64_t end) const;
  bool empty() const { return intervals_.empty(); }

  // The first interval of [0, size) that is missing.
  struct Gap {
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::optional<Gap> first_gap(int64_t size) const;

 private:
  std::map<int64_t, int64_t> intervals_;  // begin -> end
};

}  // namespace liveweight
