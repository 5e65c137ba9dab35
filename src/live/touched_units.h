// How many quantization units deltas touch.
#pragma once

#include <span>

#include "live/plan_tables.h"
#include "liveweight/delta.h"

namespace liveweight {

// Units of all parameters that a changed element counts for; parameters that are not quantized have none.
uint64_t touched_units(const Plan::Implementation& plan, std::span<const TensorDelta> deltas);

}  // namespace liveweight
