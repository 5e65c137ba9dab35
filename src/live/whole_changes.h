// What the whole tensors of an update change in the mirror, found by comparing them with it as they come: so
// that an update of a few of them, too, is noted there at the cost of what it changes.
#pragma once

#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "live/piece.h"
#include "live/plan_tables.h"
#include "liveweight/mirror.h"

namespace liveweight {

class WholeChanges {
 public:
  // Of more than a sixteenth of the weights' bytes (and 1 MiB) nothing is kept: copying is cheaper then.
  explicit WholeChanges(const Plan::Implementation& plan);

  // Compares pieces of a source, which may be of any order, with what `mirror` holds. Thread-safe.
  Status add(const Mirror& mirror, int32_t source, std::span<const Piece> pieces);

  // Whether more came than is kept, or of another type or shape than in the mirror.
  bool overflowed() const { return overflowed_; }
  // Under every name that the mirror holds, which must be at what the pieces were compared with.
  std::vector<TensorDelta> take(const Mirror& mirror) const;

 private:
  Status add_run(const TensorView& old, int32_t source, const Piece& run);
  void overflow();

  const Plan::Implementation& plan_;
  const uint64_t most_bytes_;
  std::mutex mutex_;
  uint64_t bytes_ = 0;
  bool overflowed_ = false;
  std::map<int32_t, ChangedCells> changes_;  // by source; not in order
};

}  // namespace liveweight
