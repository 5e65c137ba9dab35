// Putting changed elements of a source tensor into a slot, one by one, with the scales that are there; and
// telling which units may need another scale.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quantize/element_batch.h"
#include "quantize/element_places.h"
#include "quantize/quantize.h"

namespace liveweight {

// Elements of a source tensor of `cols` columns: flat positions, strictly ascending, and their new values,
// which are finite. `old` is the tensor before the change, or null where that is not known.
struct ElementChanges {
  std::span<const uint32_t> positions;
  const std::byte* values = nullptr;
  int64_t cols = 0;
  const std::byte* old = nullptr;
};

// Columns of the source tensor whose elements count for what the format keeps: units that it holds in part
// are whole here.
struct ColumnRange {
  int64_t begin = 0;
  int64_t end = 0;
};
ColumnRange columns_of_units(const KernelFormat& format);

class ElementPatcher {
 public:
  // A region whose segment has no rows patches nothing and looks only for doubtful units.
  ElementPatcher(const SlotRegion& region, DType source);

  // Writes the codes of the elements that the region keeps. Appends to `doubtful`, in no order, the position
  // of an element of each unit whose scale may change: that unit must be quantized whole, or proved
  // unchanged; its codes may be wrong until then. For Element::kHighPrecision there are none. Calls may run
  // at once where they share no row. Allocates nothing but what `doubtful` needs.
  void run(const ElementChanges& changes, std::vector<uint32_t>& doubtful) const;

 private:
  struct Batch;
  class Questions;
  // Whether the change of one element may change its unit's scale; `kAskOld`: its old value tells.
  enum class Doubt { kNone, kAskOld, kDoubtful };
  // The next batch of changes from `next` on.
  void locate(const ElementChanges& changes, const ElementPlaces& places, size_t& next, Batch& batch) const;
  void gather(const ElementChanges& changes, Batch& batch) const;
  uint64_t may_have_decided(const Batch& batch) const;
  Doubt doubt_of(const ElementBatch& elements, int64_t i, bool may_have_decided) const;
  void patch(const ElementChanges& changes, Batch& batch, std::vector<uint32_t>& doubtful,
             Questions& questions) const;
  void store(const Batch& batch) const;
  void copy(const ElementChanges& changes, const Batch& batch) const;

  const SlotRegion region_;
  const KernelFormat& format_;
  const DType source_;
  const int64_t element_bytes_, code_bits_;
  const ColumnRange unit_cols_;
  ElementRule rule_;
  std::array<bool, 256> may_decide_ = {};  // by code
};

}  // namespace liveweight
