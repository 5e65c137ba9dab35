// Putting changed elements of source tensors into slots, one by one, with the scales that are there; and
// telling which units may need another scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

// Changes of one source for one region; where the region's segment has no rows nothing is written, and only
// doubtful units are looked for.
struct ElementPatch {
  SlotRegion region;
  DType source = DType::kBF16;
  ElementChanges changes;
  // Takes, in no order, the position of an element of each unit whose scale may change: that unit must be
  // quantized whole, or proved unchanged; its codes may be wrong until then. Element::kHighPrecision: none.
  std::vector<uint32_t> doubtful;
};

// Writes the codes of the elements that the regions keep. Calls may run at once where they share no row.
void patch_elements(std::span<ElementPatch> patches);

}  // namespace liveweight
