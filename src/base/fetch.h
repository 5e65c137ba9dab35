// Fetching what a loop over memory will come to.
#pragma once

namespace liveweight {

// Whether that is fetched into the second-level cache: on processors of AMD, whose first-level cache waits
// for too few lines at once to be asked for those that are still in memory. Others have it in the first.
extern const bool kFetchesIntoSecondLevel;

// Fetches the line of `address`, which need not be one that may be read. Inlined before all else: to GCC a
// function that only fetches does nothing, and calls of it are left out.
[[gnu::always_inline]] inline void fetch_line(const void* address) {
  if (kFetchesIntoSecondLevel) {
    __builtin_prefetch(address, 0, 2);
  } else {
    __builtin_prefetch(address, 0, 3);
  }
}

}  // namespace liveweight
