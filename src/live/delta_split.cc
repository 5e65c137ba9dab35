#include "live/delta_split.h"

#include <algorithm>

namespace liveweight {

size_t first_from(std::span<const uint32_t> positions, size_t begin, size_t end, int64_t position) {
  size_t step = 1;
  for (; begin + step < end && positions[begin + step] < position; step *= 2) begin += step;
  const auto first = positions.begin() + static_cast<ptrdiff_t>(begin);
  const auto last = positions.begin() + static_cast<ptrdiff_t>(std::min(begin + step, end));
  return static_cast<size_t>(std::lower_bound(first, last, position) - positions.begin());
}

std::vector<DeltaRows> split_rows(std::span<const uint32_t> positions, int64_t rows, int64_t cols,
                                  int64_t tile_rows) {
  constexpr size_t kPart = size_t{1} << 14;
  std::vector<DeltaRows> parts;
  for (size_t begin = 0; begin < positions.size();) {
    const int64_t row = positions[begin] / cols / tile_rows * tile_rows;
    const size_t last = std::min(begin + kPart, positions.size()) - 1;
    const int64_t end_row = std::min(rows, (positions[last] / cols / tile_rows + 1) * tile_rows);
    const size_t end = first_from(positions, last, positions.size(), end_row * cols);
    parts.push_back({begin, end, row, end_row - row});
    begin = end;
  }
  return parts;
}

}  // namespace liveweight
