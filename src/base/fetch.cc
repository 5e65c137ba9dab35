#include "base/fetch.h"

namespace liveweight {

#if defined(__x86_64__)
const bool kFetchesIntoSecondLevel = __builtin_cpu_is("amd");
#else
const bool kFetchesIntoSecondLevel = false;
#endif

}  // namespace liveweight
