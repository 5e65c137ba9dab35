// Which elements a made-up change touches.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace liveweight::bench {

// Ascending positions of a tensor of `size` elements at random distances, whose mean is that of the share.
std::vector<uint32_t> draw_positions(std::mt19937_64& random, int64_t size, double share);

}  // namespace liveweight::bench
