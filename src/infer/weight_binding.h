// How a captured step reaches a parameter's bytes: through the binding table of the snapshot that is pinned
// when the step runs, or at a slot address that it was given once and never looks up again.
#pragma once

#include "infer/weight_tile.h"
#include "liveweight/live_model.h"

namespace liveweight {

class WeightBinding {
 public:
  // `cell` is where each step puts its table; only the cell's address is kept.
  WeightBinding(const PlannedParameter& parameter, int64_t index, const BindingTable* const* cell)
      : format_(parameter.format.get()), index_(static_cast<size_t>(index)), cell_(cell) {}
  WeightBinding(const PlannedParameter& parameter, const std::byte* slot)
      : format_(parameter.format.get()), slot_(slot) {}

  const KernelFormat& format() const { return *format_; }
  WeightView view(int64_t matrix = 0) const {
    return {format_, cell_ ? (*cell_)->slots[index_] : slot_, matrix};
  }

  // What it holds: a cell or a slot.
  const void* address() const { return cell_ ? static_cast<const void*>(cell_) : slot_; }

 private:
  const KernelFormat* format_;
  size_t index_ = 0;
  const BindingTable* const* cell_ = nullptr;
  const std::byte* slot_ = nullptr;
};

}  // namespace liveweight
