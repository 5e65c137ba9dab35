#include "quantize/unit_layout.h"

#include <cstring>

#include "tensor/codec.h"

namespace liveweight {
namespace {

void store(DType dtype, std::byte* to, const float* values, int64_t count) {
  if (dtype == DType::kF32) {
    std::memcpy(to, values, static_cast<size_t>(count) * sizeof *values);
  } else if (dtype == DType::kI8) {
    auto* codes = reinterpret_cast<int8_t*>(to);
    for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<int8_t>(values[i]);
  } else {
    auto* halves = reinterpret_cast<uint16_t*>(to);
    const bool bf16 = dtype == DType::kBF16;
    for (int64_t i = 0; i < count; ++i) {
      halves[i] = bf16 ? float_to_bf16(values[i]) : float_to_fp16(values[i]);
    }
  }
}

}  // namespace

void store_unit_scale(const SlotRegion& region, int64_t source_row, int64_t source_col, float scale,
                      float zero) {
  store_unit_scales(region, source_row, source_col, &scale, &zero, 1);
}

void store_unit_scales(const SlotRegion& region, int64_t source_row, int64_t source_col, const float* scale,
                       const float* zero, int64_t count) {
  const KernelFormat& format = *region.format;
  const int64_t local_row = region.segment.row + source_row - region.segment.source_row;
  const bool first = local_row == 0 && source_col == format.source_col;
  if (format.scheme.granularity == Granularity::kTensor && !first) return;
  const int64_t row = scale_row_of(format, region.segment, source_row);
  const int64_t col = scale_col_of(format, source_col);
  const auto at = [&](const Part& part) {
    return region.slot + row_offset(part, region.matrix, row) + col * (bits_of(part.dtype) / 8);
  };
  store(format.scale.dtype, at(format.scale), scale, count);
  if (format.zero_point.bytes > 0) store(format.zero_point.dtype, at(format.zero_point), zero, count);
}

}  // namespace liveweight
