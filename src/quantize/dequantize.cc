#include <cstring>

#include "quantize/quantize.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

float load(const Part& part, const std::byte* slot, int64_t matrix, int64_t row, int64_t col) {
  const std::byte* at = slot + row_offset(part, matrix, row);
  if (part.dtype == DType::kI8) return static_cast<float>(static_cast<int8_t>(at[col]));
  return load_high_precision(part.dtype, at, col);
}

float load_code(const KernelFormat& format, const std::byte* row, int64_t col) {
  switch (format.scheme.element) {
    case Element::kHighPrecision:
      return load_high_precision(format.data.dtype, row, col);
    case Element::kE4M3:
      return e4m3_to_float(std::to_integer<uint8_t>(row[col]));
    case Element::kInt4:
      if (code_bits(format) == 4) {
        const int byte = std::to_integer<int>(row[col / 2]);
        return static_cast<float>((col % 2 ? byte >> 4 : byte & 15) - 8);
      }
      [[fallthrough]];
    case Element::kInt8:
      return static_cast<float>(static_cast<int8_t>(row[col]));
  }
  return 0;
}

}  // namespace

void dequantize_row(const KernelFormat& format, const std::byte* slot, int64_t matrix, int64_t row,
                    float* out) {
  const std::byte* data = slot + row_offset(format.data, matrix, row);
  const bool quantized = format.scheme.quantizes();
  const Segment& segment = segment_of(format, row);
  const int64_t scale_row =
      quantized ? scale_row_of(format, segment, segment.source_row + row - segment.row) : 0;
  for (int64_t col = 0; col < format.cols; ++col) {
    const float code = load_code(format, data, col);
    if (!quantized) {
      out[col] = code;
      continue;
    }
    const int64_t scale_col = scale_col_of(format, format.source_col + col);
    const float scale = load(format.scale, slot, matrix, scale_row, scale_col);
    const Part& zeros = format.zero_point;
    if (zeros.bytes == 0) {
      out[col] = code * scale;
    } else {
      const float zero = load(zeros, slot, matrix, scale_row, scale_col);
      out[col] = zeros.dtype == DType::kI8 ? (code - zero) * scale : code * scale + zero;
    }
  }
}

}  // namespace liveweight
