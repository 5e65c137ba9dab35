// Checksums of tensors by parts that follow a change at the cost of that change: sums of a mix of each 8-byte
// word and its place.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "liveweight/delta.h"

namespace liveweight {

inline constexpr uint64_t kPartBytes = uint64_t{64} << 10;

inline uint64_t part_count(uint64_t bytes) {
  return (bytes + kPartBytes - 1) / kPartBytes;
}

// The sum of part `part` of a tensor whose first part is the `first`th of all.
uint64_t sum_of_part(std::span<const std::byte> tensor, uint64_t first, uint64_t part);

// Changes the sums of all parts to what they will be once `delta` is put into the tensor, which still has the
// old values. Appends the parts of all that it touches.
void add_change(std::span<const std::byte> tensor, uint64_t first, const TensorDelta& delta,
                std::span<uint64_t> sums, std::vector<uint64_t>& touched);

}  // namespace liveweight
