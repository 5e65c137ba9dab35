// Fetching what a loop over memory will come to.
#pragma once

#include <cstdint>

namespace liveweight {

// Whether that is fetched into the second-level cache: on processors of AMD, whose first-level cache waits
// for too few lines at once to be asked for those that are still in memory. Others have it in the first.
extern const bool kFetchesIntoSecondLevel;

// Fetches the lines of the `bytes` from `address` on, which need not be ones that may be read. Loops that do
// little else ask for the level once, before they begin. Inlined before all else: to GCC a function that only
// fetches does nothing, and calls of it are left out.
[[gnu::always_inline]] inline void fetch_lines(const void* address, int64_t bytes, bool second_level) {
  const auto* line = static_cast<const char*>(address);
  if (second_level) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(line + i, 0, 2);
  } else {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(line + i, 0, 3);
  }
}

}  // namespace liveweight
