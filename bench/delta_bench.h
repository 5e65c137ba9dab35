// Deltas into live weights against the scatter floor: a program that reads, changes and writes one byte at
// each of the same positions of a buffer of the live size, with all threads, prefetching.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::bench {

struct DeltaFigures {
  std::string scheme;
  double share = 0;  // of the elements of every tensor
  uint64_t changed = 0;
  uint64_t whole_units = 0;
  double update_seconds = 0;  // medians: from a decoded delta in memory to the commit
  double floor_seconds = 0;
  double behind_seconds = 0;      // catching up after it
  double times_floor = 0;         // median of the rounds' ratios
  double steady_times_floor = 0;  // without the changes that move their group's maximum; 0: no groups
};

// Elements at uniformly random positions, whose values move by their last bit; the mirror is in memory. Of
// groups of 32 one change in 32 moves the maximum, which costs the whole group: those are measured again
// without such changes.
Result<std::vector<DeltaFigures>> measure_deltas(const std::filesystem::path& directory,
                                                 const std::string& scheme, const std::vector<double>& shares,
                                                 int rounds);

}  // namespace liveweight::bench
