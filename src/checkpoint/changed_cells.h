// Which cells of two stretches of memory differ.
#pragma once

#include <cstddef>
#include <cstdint>

namespace liveweight {

inline constexpr uint64_t kCellsAtOnce = 64;  // so many, and multiples of it, are quickest

// Compares `count` cells of `cell` bytes each (1, 2, 4 or 8). Writes the numbers of those that differ, from
// `first` on, ascending, and their bytes from `updated`; returns how many there are. Each array needs room
// for `count`.
uint64_t find_changed_cells(int64_t cell, const std::byte* old, const std::byte* updated, uint64_t count,
                            uint64_t first, uint32_t* positions, std::byte* values);

}  // namespace liveweight
