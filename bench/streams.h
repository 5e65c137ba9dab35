// The machine's limits: loops that only move bytes, as fast as its memory lets them, or only
// multiply and add.
#pragma once

#include <cstddef>
#include <cstdint>

namespace liveweight::bench {

enum class Stores { kRegular, kNonTemporal };

// Reads `source_bytes` and writes `target_bytes` (at most as many), spread evenly, with all threads of the
// shared pool or with one. Returns a number that depends on every byte read.
struct StreamOptions {
  Stores stores = Stores::kNonTemporal;
  bool one_thread = false;
};
uint64_t stream(const std::byte* source, uint64_t source_bytes, std::byte* target, uint64_t target_bytes,
                StreamOptions options = {});

// Multiplies and adds fp32 numbers `count` times in registers, with all threads of the shared pool: the other
// limit of a matrix product. Returns a number that depends on every one.
float multiply_add(int64_t count);

}  // namespace liveweight::bench
