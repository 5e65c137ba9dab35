// Rows of a live weight as a kernel reads them: where codes, scales and zero points lie, and over which
// columns one scale reaches. Plain pointers into a slot; valid as long as the snapshot that gave the slot.
#pragma once

#include <cstddef>
#include <cstdint>

#include "liveweight/dtype.h"
#include "quantize/kernel_format.h"

namespace liveweight {

// One matrix (of several, for experts) of a parameter in a slot.
struct WeightView {
  const KernelFormat* format = nullptr;
  const std::byte* slot = nullptr;
  int64_t matrix = 0;
};

enum class Code : uint8_t { kF32, kF16, kBF16, kI8, kE4M3, kI4 };

// What a code means: itself, code * scale, (code - zero) * scale, or code * scale + zero.
enum class Scaling : uint8_t { kNone, kSymmetric, kIntegerZero, kFloatingZero };

inline constexpr int kTileRows = 8;

struct WeightTile {
  Code code = Code::kF32;
  Scaling scaling = Scaling::kNone;
  DType scale_dtype = DType::kF32;
  DType zero_dtype = DType::kI8;
  int64_t cols = 0;
  int64_t first_span = 0;  // columns under the first scale; later ones have `span`, the last what remains
  int64_t span = 1;
  int64_t prefetch_bytes = 0;  // how far ahead of the first row's codes memory is fetched
  const std::byte* data[kTileRows] = {};
  const std::byte* scale[kTileRows] = {};
  const std::byte* zero[kTileRows] = {};

  int64_t span_of(int64_t col) const { return col < first_span ? 0 : 1 + (col - first_span) / span; }
};

// Rows [row, row + kTileRows); rows past the end repeat the last one.
WeightTile tile_of(const WeightView& weight, int64_t row);

// Norms and biases: a parameter of [n, 1] as one row of n.
WeightTile tile_of_vector(const WeightView& weight);

// The scale of a row over one span.
float scale_of(const WeightTile& tile, int row, int64_t span);

// One element, by the scalar codecs: what the vector code falls back to at the edges.
float decode_element(const WeightTile& tile, int row, int64_t col);

}  // namespace liveweight
