// The machine's limits: loops that only move bytes, as fast as its memory lets them.
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

}  // namespace liveweight::bench
