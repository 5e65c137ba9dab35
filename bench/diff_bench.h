// Comparing two versions of a checkpoint against reading them.
#pragma once

#include <filesystem>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::bench {

struct DiffFigures {
  double share = 0;  // of the elements of every tensor, changed
  uint64_t changed = 0;
  uint64_t bytes = 0;         // of both versions
  double diff_seconds = 0;    // medians: every tensor compared, its changes in memory
  double read_seconds = 0;    // a loop that only reads both
  double share_of_limit = 0;  // median of the rounds' ratios
};

// The old version is the files of `directory`, mapped and in the page cache; the new one a copy in memory
// with changes at uniformly random positions.
Result<std::vector<DiffFigures>> measure_diff(const std::filesystem::path& directory,
                                              const std::vector<double>& shares, int rounds);

}  // namespace liveweight::bench
