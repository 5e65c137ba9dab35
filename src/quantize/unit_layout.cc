#include "quantize/unit_layout.h"

#include <cstring>

#include "tensor/codec.h"

namespace liveweight {
namespace {

void store(const Part& part, std::byte* to, float value) {
  if (part.dtype == DType::kF32) {
    std::memcpy(to, &value, sizeof value);
  } else if (part.dtype == DType::kI8) {
    *to = static_cast<std::byte>(static_cast<int8_t>(value));
  } else {
    const uint16_t bits = part.dtype == DType::kBF16 ? float_to_bf16(value) : float_to_fp16(value);
    std::memcpy(to, &bits, sizeof bits);
  }
}

}  // namespace

void store_unit_scale(const SlotRegion& region, int64_t source_row, int64_t source_col, float scale,
                      float zero) {
  const KernelFormat& format = *region.format;
  const int64_t row = scale_row_of(format, region.segment, source_row);
  const int64_t col = scale_col_of(format, source_col);
  const auto at = [&](const Part& part) {
    return region.slot + row_offset(part, region.matrix, row) + col * (bits_of(part.dtype) / 8);
  };
  store(format.scale, at(format.scale), scale);
  if (format.zero_point.bytes > 0) store(format.zero_point, at(format.zero_point), zero);
}

}  // namespace liveweight
