// A warm reload of a page-cached directory against the floor: a program that only reads the mapped file with
// all threads and writes as many bytes as the scheme does.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/plan.h"

namespace liveweight::bench {

struct ReloadFigures {
  std::string scheme;
  CommitMode mode = CommitMode::kFlip;
  uint64_t source_bytes = 0;
  uint64_t live_bytes = 0;
  double reload_seconds = 0;  // medians
  double floor_seconds = 0;
  double share = 0;                     // of the floor's speed
  uint64_t extra_peak_bytes = 0;        // as the update reports it, the second slot included
  uint64_t anonymous_growth_bytes = 0;  // of the process, by the kernel's count, while it reloaded
};

Result<ReloadFigures> measure_reload(const std::filesystem::path& directory, const std::string& scheme,
                                     CommitMode mode, int rounds);

}  // namespace liveweight::bench
