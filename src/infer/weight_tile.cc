#include "infer/weight_tile.h"

#include <algorithm>

#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

Code code_of(const KernelFormat& format) {
  switch (format.scheme.element) {
    case Element::kInt8:
      return Code::kI8;
    case Element::kInt4:
      return Code::kI4;
    case Element::kE4M3:
      return Code::kE4M3;
    case Element::kHighPrecision:
      break;
  }
  if (format.data.dtype == DType::kBF16) return Code::kBF16;
  return format.data.dtype == DType::kF16 ? Code::kF16 : Code::kF32;
}

Scaling scaling_of(const KernelFormat& format) {
  if (!format.scheme.quantizes()) return Scaling::kNone;
  if (format.zero_point.bytes == 0) return Scaling::kSymmetric;
  return format.zero_point.dtype == DType::kI8 ? Scaling::kIntegerZero : Scaling::kFloatingZero;
}

// One tile ahead, or as many as hide the way to memory.
int64_t prefetch_bytes_of(const KernelFormat& format) {
  constexpr int64_t kEnough = 8 << 10;
  const int64_t tile = std::max<int64_t>(kTileRows * format.data.row_bytes, 1);
  return (kEnough + tile - 1) / tile * tile;
}

WeightTile tile_without_rows(const KernelFormat& format) {
  WeightTile tile;
  tile.code = code_of(format);
  tile.scaling = scaling_of(format);
  tile.scale_dtype = format.scale.dtype;
  tile.zero_dtype = format.zero_point.dtype;
  tile.cols = format.cols;
  tile.prefetch_bytes = prefetch_bytes_of(format);
  tile.first_span = tile.span = std::max<int64_t>(format.cols, 1);
  const Granularity granularity = format.scheme.granularity;
  if (granularity == Granularity::kGroup || granularity == Granularity::kBlock) {
    tile.span = format.scheme.size;
    tile.first_span = tile.span - format.source_col % tile.span;
  }
  return tile;
}

// Of rows in ascending order.
void point_at_factors(const WeightView& weight, int64_t first, WeightTile& tile) {
  const KernelFormat& format = *weight.format;
  const Segment* segment = &segment_of(format, first);
  for (int i = 0; i < kTileRows; ++i) {
    const int64_t row = std::min(first + i, format.rows - 1);
    while (row >= segment->row + segment->rows) ++segment;
    const int64_t scale_row = scale_row_of(format, *segment, segment->source_row + row - segment->row);
    tile.scale[i] = weight.slot + row_offset(format.scale, weight.matrix, scale_row);
    tile.zero[i] = weight.slot + row_offset(format.zero_point, weight.matrix, scale_row);
  }
}

float load_code(Code code, const std::byte* row, int64_t col) {
  switch (code) {
    case Code::kF32:
      return load_high_precision(DType::kF32, row, col);
    case Code::kF16:
      return load_high_precision(DType::kF16, row, col);
    case Code::kBF16:
      return load_high_precision(DType::kBF16, row, col);
    case Code::kI8:
      return static_cast<float>(std::to_integer<int8_t>(row[col]));
    case Code::kE4M3:
      return e4m3_to_float(std::to_integer<uint8_t>(row[col]));
    case Code::kI4:
      break;
  }
  const int pair = std::to_integer<int>(row[col / 2]);
  return static_cast<float>((col % 2 ? pair >> 4 : pair & 15) - 8);
}

float load_factor(DType dtype, const std::byte* factors, int64_t index) {
  if (dtype == DType::kI8) return static_cast<float>(std::to_integer<int8_t>(factors[index]));
  return load_high_precision(dtype, factors, index);
}

}  // namespace

WeightTile tile_of(const WeightView& weight, int64_t row) {
  const KernelFormat& format = *weight.format;
  WeightTile tile = tile_without_rows(format);
  const std::byte* data = weight.slot + row_offset(format.data, weight.matrix, row);
  for (int64_t i = 0; i < kTileRows; ++i) {
    tile.data[i] = data + std::min(i, format.rows - 1 - row) * format.data.row_bytes;
  }
  if (tile.scaling != Scaling::kNone) point_at_factors(weight, row, tile);
  return tile;
}

WeightTile tile_of_vector(const WeightView& weight) {
  WeightTile tile;
  tile.code = code_of(*weight.format);
  tile.cols = tile.first_span = tile.span = weight.format->rows * weight.format->cols;
  for (const std::byte*& row : tile.data) row = weight.slot + weight.format->data.offset;
  return tile;
}

float scale_of(const WeightTile& tile, int row, int64_t span) {
  return load_factor(tile.scale_dtype, tile.scale[row], span);
}

float decode_element(const WeightTile& tile, int row, int64_t col) {
  const float code = load_code(tile.code, tile.data[row], col);
  if (tile.scaling == Scaling::kNone) return code;
  const int64_t span = tile.span_of(col);
  const float scale = scale_of(tile, row, span);
  if (tile.scaling == Scaling::kSymmetric) return code * scale;
  const float zero = load_factor(tile.zero_dtype, tile.zero[row], span);
  return tile.scaling == Scaling::kIntegerZero ? (code - zero) * scale : code * scale + zero;
}

}  // namespace liveweight
