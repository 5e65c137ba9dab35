// From one slot of a format to another: the bytes of single elements, or of whole units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quantize/quantize.h"

namespace liveweight {

// Copies the bytes that hold the elements at those positions of a source tensor, from one slot of the format
// to another.
void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols);

// Copies the codes of what the region keeps of a box of whole units, and the units' scales and zero points.
void copy_units(const SlotRegion& to, const std::byte* from, int64_t row, int64_t rows, int64_t col,
                int64_t cols);

}  // namespace liveweight
