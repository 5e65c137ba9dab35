// Putting changed elements of a source tensor into a slot, one by one, with the scales that are there; and
// telling which units may need another scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quantize/element_batch.h"
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

  // Writes the codes of the elements that the region keeps. Appends to `doubtful` the position of an element
  // of each unit whose scale may change: that unit must be quantized whole, or proved unchanged; its codes
  // may be wrong until then. For Element::kHighPrecision there are none. Calls may run at once where they
  // share no row. Allocates nothing but what `doubtful` needs.
  void run(const ElementChanges& changes, std::vector<uint32_t>& doubtful) const;

 private:
  struct Batch;
  void locate(const ElementChanges& changes, size_t& next, Batch& batch) const;
  void finish(const ElementChanges& changes, Batch& batch, std::vector<uint32_t>& doubtful) const;
  void copy(const ElementChanges& changes) const;
  bool decides(const ElementChanges& changes, const Batch& batch, int64_t i) const;
  float scale_at(const std::byte* at) const;

  const SlotRegion region_;
  const KernelFormat& format_;
  const DType source_;
  const int64_t element_bytes_;
  const ColumnRange unit_cols_;
  ElementRule rule_;
};

// Copies the bytes that hold those elements from one slot of the format to another.
void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols);

// Copies the codes of what the region keeps of a box of whole units, and the units' scales and zero points.
void copy_units(const SlotRegion& to, const std::byte* from, int64_t row, int64_t rows, int64_t col,
                int64_t cols);

}  // namespace liveweight
