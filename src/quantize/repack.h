// Codes, scales and zero points of a slot in the layouts that checkpoint formats want.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "liveweight/dtype.h"
#include "quantize/unpack_int4.h"

namespace liveweight {

// One int8 a code.
std::vector<std::byte> unpack_int4(const Int4Rows& codes);

// Two's complement codes, two a byte, rows of cols / 2 bytes; `cols` is even.
std::vector<std::byte> pair_int4(const Int4Rows& codes);

// int8 zero points [rows, cols], each plus 8, eight rows to a 32-bit word: [ceil(rows / 8), cols].
std::vector<std::byte> pack_zero_points(const std::byte* zero_points, int64_t rows, int64_t cols);

// [rows, cols] elements of `element_bytes` to [cols, rows].
std::vector<std::byte> transpose(const std::byte* data, int64_t rows, int64_t cols, int64_t element_bytes);

// BF16, F16 or F32 elements as F32.
std::vector<std::byte> widen(DType dtype, const std::byte* data, int64_t count);

}  // namespace liveweight
