// What the machine's memory can do: loops that only read, that write half of what they read, and that copy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::bench {

struct LimitFigures {
  std::string loop;                // "read", "mapped file", "2 to 1" (writes one byte for two), "copy"
  std::string stores;              // "non-temporal", "regular"; "" where nothing is written
  double one_thread_gb_per_s = 0;  // bytes read and written, medians
  double all_threads_gb_per_s = 0;
};

// On buffers of that many bytes, more than the caches hold, and on a temporary file of as many, page-cached.
Result<std::vector<LimitFigures>> measure_limits(uint64_t bytes, int rounds);

}  // namespace liveweight::bench
