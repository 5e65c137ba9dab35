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

}  // namespace liveweight
