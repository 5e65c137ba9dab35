// Sharing the positions of a delta out among threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace liveweight {

// Positions [begin, end) of the list, all of rows [row, row + rows) of the tensor.
struct DeltaRows {
  size_t begin = 0;
  size_t end = 0;
  int64_t row = 0;
  int64_t rows = 0;
};

// The first of the positions from `begin` on that is not below `position`: soon where it is near.
size_t first_from(std::span<const uint32_t> positions, size_t begin, size_t end, int64_t position);

// Calls take(DeltaRows) for ascending positions of a tensor of rows x cols, cut at multiples of `tile_rows`
// rows into parts of about 16,000, each with a changed element.
template <typename Take>
void split_rows(std::span<const uint32_t> positions, int64_t rows, int64_t cols, int64_t tile_rows,
                const Take& take) {
  constexpr size_t kPart = size_t{1} << 14;
  // Divisions of 32 bits take a third of the time.
  const auto tile_of = [&](uint32_t position) {
    return position / static_cast<uint32_t>(cols) / static_cast<uint32_t>(tile_rows);
  };
  for (size_t begin = 0; begin < positions.size();) {
    const int64_t row = tile_of(positions[begin]) * tile_rows;
    const size_t last = std::min(begin + kPart, positions.size()) - 1;
    const int64_t end_row = std::min(rows, (tile_of(positions[last]) + 1) * tile_rows);
    const size_t end = first_from(positions, last, positions.size(), end_row * cols);
    take(DeltaRows{begin, end, row, end_row - row});
    begin = end;
  }
}

}  // namespace liveweight
