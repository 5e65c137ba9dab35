// Proof that an update brings every required element exactly once: an interval set for every checkpoint
// tensor, and which tensors the update's scope requires. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "live/interval_set.h"
#include "live/piece.h"
#include "live/plan_tables.h"

namespace liveweight {

class Coverage {
 public:
  // Errors name an entry of the scope that fits no tensor, or a tensor that cannot be updated without its
  // fused sisters. With `deltas` it can, and an empty scope requires nothing.
  static Result<std::unique_ptr<Coverage>> create(const Plan::Implementation& plan,
                                                  const std::vector<std::string>& scope, bool deltas = false);

  // The source of that name, or kUnknownTensor where the plan has none or the scope leaves it out.
  Result<int32_t> find(std::string_view name) const;
  bool in_scope(int32_t source) const { return in_scope_[source]; }

  // kDuplicateTensor where any element of the pieces came before.
  Status add(int32_t source, std::span<const Piece> pieces);

  // All of the tensor came, as that many bytes of changes. kDuplicateTensor where any of it came before.
  Status add_changes(int32_t source, uint64_t bytes);

  bool any(int32_t source) const;
  int64_t tensors() const;
  uint64_t source_bytes() const;

  // kMissingTensor: names every tensor (the first few) that is missing or has a gap. One of a tie's names is
  // enough.
  Status require_all() const;

  // kUnsupported where one name of a tie came whole and the other as changes: what the changes leave out
  // cannot be compared.
  Status require_ties_alike() const;

 private:
  Coverage(const Plan::Implementation& plan, std::vector<bool> in_scope, bool optional);
  // Of sources that are neighbours, which mostly come by one thread: what two write often lies apart.
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::atomic<int64_t> tensors{0};  // that came; counted under the mutex
    std::atomic<uint64_t> source_bytes{0};

    void count(int64_t new_tensors, uint64_t bytes) {
      tensors.store(tensors + new_tensors, std::memory_order_relaxed);
      source_bytes.store(source_bytes + bytes, std::memory_order_relaxed);
    }
  };
  Stripe& stripe_of(int32_t source) const {
    constexpr size_t kNeighbours = 16;
    return stripes_[static_cast<size_t>(source) / kNeighbours % stripes_.size()];
  }

  const Plan::Implementation& plan_;
  std::vector<bool> in_scope_;
  const bool optional_;               // what does not come at all is not missing
  std::vector<IntervalSet> covered_;  // under the mutex of its source's stripe, as are the two that follow
  std::vector<uint8_t> whole_;        // whether all of a source came
  std::vector<uint8_t> as_changes_;   // whether it came that way
  mutable std::array<Stripe, 32> stripes_;
};

}  // namespace liveweight
