// The processors that this process may use, and threads bound to one of them.
#pragma once

#include <vector>

namespace liveweight {

// In the system's order; what `taskset`, a cpuset or a scheduler left out is not among them. Never empty:
// [0, n) of a machine that does not tell.
std::vector<int> allowed_processors();

// Binds the calling thread. False where the system refuses; the thread runs as before then.
bool pin_this_thread(int processor);

}  // namespace liveweight
