// Sharing the positions of a delta out among threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace liveweight {

// Positions [begin, end) of the list, all of rows [row, row + rows) of the tensor.
struct DeltaRows {
  size_t begin = 0;
  size_t end = 0;
  int64_t row = 0;
  int64_t rows = 0;
};

// Ascending positions of a tensor of rows x cols, cut at multiples of `tile_rows` rows into parts of about
// 16,000, each with a changed element.
std::vector<DeltaRows> split_rows(std::span<const uint32_t> positions, int64_t rows, int64_t cols,
                                  int64_t tile_rows);

// The first of the positions from `begin` on that is not below `position`: soon where it is near.
size_t first_from(std::span<const uint32_t> positions, size_t begin, size_t end, int64_t position);

}  // namespace liveweight
