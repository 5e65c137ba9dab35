// How a parameter's two slots differ, and making them equal again at the cost of that difference.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "live/plan_tables.h"

namespace liveweight {

// A box of a source that was quantized whole, for one target.
struct UnitBox {
  int32_t source = 0;
  int32_t target = 0;
  int64_t row = 0, rows = 0;
  int64_t col = 0, cols = 0;
};

// Which bytes of the slots may differ; outside of it they are equal.
struct SlotLag {
  struct Change {
    int32_t source = 0;
    int32_t target = 0;
    std::span<const uint32_t> positions;
    std::shared_ptr<const void> owner;  // of the positions
  };
  bool everything = true;
  uint64_t elements = 0;
  std::vector<Change> changes;
  std::vector<UnitBox> units;

  bool none() const { return !everything && changes.empty() && units.empty(); }
  // From here on nothing is known; what was noted takes no memory.
  void forget() { *this = SlotLag{}; }
  // Keeps the memory that the next update's changes will be noted in.
  void clear() {
    changes.clear();
    *this = SlotLag{false, 0, std::move(changes), {}};
  }
  // Where copying the slot is cheaper than going to each changed element, `forget`.
  void shorten(uint64_t slot_bytes);
};

// Copies from one slot of parameter `index` to the other what the lag says, on all threads.
void copy_lag(const Plan::Implementation& plan, int32_t index, const SlotLag& lag, const std::byte* from,
              std::byte* to);

// What a slot held where a lag says, to bring it back after the lag was copied there.
struct SlotUndo {
  SlotLag lag;                                 // with positions of its own
  std::vector<std::vector<std::byte>> packed;  // of each part of the lag
};

// None where the lag is everything, or its units make up more than a quarter of the slot: then keeping them
// would take memory of the order of the model.
std::optional<SlotUndo> save_lag(const Plan::Implementation& plan, int32_t index, const SlotLag& lag,
                                 std::byte* slot);
void put_back(const Plan::Implementation& plan, int32_t index, const SlotUndo& undo, std::byte* slot);

}  // namespace liveweight
