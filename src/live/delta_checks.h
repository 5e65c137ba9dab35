// What a tensor's changed elements must be before they are queued.
#pragma once

#include "live/plan_tables.h"
#include "liveweight/delta.h"

namespace liveweight {

// Whether deltas can go into this tensor at all, and the delta is one of it: dtype, shape, as many values as
// positions.
Status check_facts(const Source& source, const TensorDelta& delta);

// Positions that ascend within the tensor, and finite values; on all threads.
Status check_changes(const Source& source, const TensorDelta& delta);

// The delta under the source's name, kept alive by its owner (a copy, where it had none), its values aligned.
TensorDelta owned(const TensorDelta& delta, const Source& source);

}  // namespace liveweight
