// The counterpart of commit_together.
#pragma once

#include <span>
#include <vector>

#include "liveweight/live_model.h"
#include "liveweight/update.h"

namespace liveweight {

// An update of each rank, or of none; `ranks` is not empty.
Result<std::vector<Update>> begin_together(std::span<LiveModel* const> ranks, const UpdateOptions& options);

}  // namespace liveweight
