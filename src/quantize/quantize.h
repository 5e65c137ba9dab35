// Quantizing a box of a source tensor straight into kernel format. Reads the source where it lies, writes
// codes, scales and zero points where they belong, allocates nothing. Thread-safe: calls may run at once on
// boxes whose kept parts do not share a byte of output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "liveweight/dtype.h"
#include "liveweight/scheme.h"
#include "quantize/kernel_format.h"

namespace liveweight {

// Rows [row, row + rows) and columns [col, col + cols) of a source tensor viewed as a matrix; `data` points
// at the first of them, `stride` elements lie from row to row. Along every dimension the box begins and ends
// at the edges of units (a row unit needs all columns, a block box whole 128s or the tensor's edge).
struct SourceBox {
  DType dtype = DType::kBF16;
  const std::byte* data = nullptr;
  int64_t stride = 0;
  int64_t row = 0;
  int64_t rows = 0;
  int64_t col = 0;
  int64_t cols = 0;
};

// Where the kept part of source tensors goes: one segment of one matrix of a slot.
struct SlotRegion {
  const KernelFormat* format = nullptr;
  std::byte* slot = nullptr;  // the slot's first byte
  int64_t matrix = 0;
  Segment segment;
};

// What of one tensor-wide unit must be known before its first element can be quantized.
struct TensorUnit {
  float amax = 0;          // Granularity::kTensor: over all source tensors of the matrix
  float last_element = 0;  // Profile::kNemo: the source tensor's very last element, widened
};

// What stopped a call: an element that is not finite, or whose unit has no finite scale. Nothing is said of
// bytes already written.
struct QuantizeFault {
  int64_t row = 0;  // in the source tensor
  int64_t col = 0;
  float value = 0;
  bool scale_overflow = false;
};

// Quantizes every unit of the box, writing what the region holds of it (rows outside the segment and columns
// outside the format count for the units' extremes only). For Element::kHighPrecision: copies, checking that
// all is finite.
std::optional<QuantizeFault> quantize_box(const SourceBox& box, const SlotRegion& region,
                                          const TensorUnit& unit);

// The oracle: the same, one element at a time, straight from the definition in profile.h.
std::optional<QuantizeFault> quantize_box_reference(const SourceBox& box, const SlotRegion& region,
                                                    const TensorUnit& unit);

// The absolute maximum of a box, or its first element that is not finite.
struct AmaxResult {
  float amax = 0;
  std::optional<QuantizeFault> fault;
};
AmaxResult absolute_maximum(const SourceBox& box);
AmaxResult absolute_maximum_reference(const SourceBox& box);

// One row of codes back to fp32, all `format.cols` of them; what a kernel multiplies with, to the bit:
// code * scale, or code * scale + zero point (floating), or (code - zero point) * scale (integer).
void dequantize_row(const KernelFormat& format, const std::byte* slot, int64_t matrix, int64_t row,
                    float* out);

// The name of the instruction set that quantize_box runs on: "AVX3", "AVX2", "NEON", ...
const char* quantize_target();

}  // namespace liveweight
