#include "bench/positions.h"

#include <algorithm>
#include <cmath>

namespace liveweight::bench {

std::vector<uint32_t> draw_positions(std::mt19937_64& random, int64_t size, double share) {
  std::vector<uint32_t> positions;
  positions.reserve(static_cast<size_t>(static_cast<double>(size) * share * 1.1) + 16);
  const double mean = 1 / share;
  for (double at = 0;;) {
    const double uniform = (static_cast<double>(random() >> 11) + 1) * 0x1p-53;
    at += std::max(1.0, -std::log(uniform) * mean);
    if (at >= static_cast<double>(size)) return positions;
    const auto position = static_cast<uint32_t>(at);
    if (positions.empty() || position > positions.back()) positions.push_back(position);
  }
}

}  // namespace liveweight::bench
