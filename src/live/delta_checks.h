// What a tensor's changed elements must be before they are queued.
#pragma once

#include "live/plan_tables.h"
#include "liveweight/delta.h"

namespace liveweight {

// Whether deltas can go into this tensor at all, and the delta is one of it: dtype, shape, as many values as
// positions.
Status check_facts(const Source& source, const TensorDelta& delta);

// What a delta changes of the source that it is of: kept alive, its values aligned. Copies share.
struct SourceChanges {
  std::span<const uint32_t> positions;
  std::span<const std::byte> values;
  std::shared_ptr<const void> owner;

  TensorDelta delta_of(const Source& source) const {
    return {source.name, source.dtype, source.shape, positions, values, owner};
  }
};

struct CheckedDelta {
  int32_t source = 0;
  SourceChanges changes;
};

// By the delta's owner; a copy, where it has none.
SourceChanges owned(const TensorDelta& delta, const Source& source);

// Whether check_changes leaves it to the thread that calls it.
bool is_checked_alone(const TensorDelta& delta);

// Positions that ascend within the tensor, and finite values; on all threads where they are many.
Status check_changes(const Source& source, const SourceChanges& changes);

}  // namespace liveweight
