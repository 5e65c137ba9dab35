// A slot's int4 codes spread out, as checkpoints and modules hold them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace liveweight {

// A slot's int4 codes: code + 8, two a byte, the even column in the low nibble, `row_bytes` from row to row.
struct Int4Rows {
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_bytes = 0;
};

// One int8 from -8 to 7 a code, [rows, cols], row-major. Past the caches where rows of `to` begin at
// multiples of 64 bytes. Thread-safe.
void unpack_int4(const Int4Rows& codes, std::byte* to);

// The oracle.
void unpack_int4_reference(const Int4Rows& codes, std::byte* to);

}  // namespace liveweight
