// From one slot of a format to another: the bytes of single elements, or of whole units. Or aside, packed,
// and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quantize/quantize.h"

namespace liveweight {

// Rows and columns of a source tensor.
struct SourceArea {
  int64_t row = 0, rows = 0;
  int64_t col = 0, cols = 0;
};

// Copies the bytes that hold the elements at those positions of a source tensor, from one slot of the format
// to another.
void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols);

// Copies the codes of what the region keeps of an area of whole units, and the units' scales and zero points.
void copy_units(const SlotRegion& to, const std::byte* from, const SourceArea& area);

// Appends what the copy to that region would overwrite.
void pack_elements(const SlotRegion& from, std::span<const uint32_t> positions, int64_t source_cols,
                   std::vector<std::byte>& packed);
void pack_units(const SlotRegion& from, const SourceArea& area, std::vector<std::byte>& packed);

// Puts that back. Returns the end of what it took.
const std::byte* unpack_elements(const SlotRegion& to, std::span<const uint32_t> positions,
                                 int64_t source_cols, const std::byte* packed);
const std::byte* unpack_units(const SlotRegion& to, const SourceArea& area, const std::byte* packed);

}  // namespace liveweight
