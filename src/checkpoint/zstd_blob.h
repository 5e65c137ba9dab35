// zstd in memory: one frame a blob, its size bounded before a byte of it is produced.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

// Bytes that are allocated without being touched.
struct Blob {
  std::shared_ptr<std::byte[]> data;
  size_t bytes = 0;
  std::span<const std::byte> view() const { return {data.get(), bytes}; }
};

Result<std::vector<std::byte>> zstd_compress(std::span<const std::byte> plain, int level);

// kBadCheckpoint where the frame is damaged or holds more than `most` bytes.
Result<Blob> zstd_decompress(std::span<const std::byte> compressed, uint64_t most);

}  // namespace liveweight
