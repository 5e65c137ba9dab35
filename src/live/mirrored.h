// A plan's sources in a mirror.
#pragma once

#include "live/plan_tables.h"
#include "liveweight/mirror.h"

namespace liveweight {

// What the mirror holds of a source: of what is tied it may have one name only. Null data where it has none.
// Whether dtype and shape are the source's is not looked at.
TensorView mirrored(const Plan::Implementation& plan, const Mirror& mirror, int32_t source);

}  // namespace liveweight
