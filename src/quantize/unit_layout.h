// Where the elements and the unit of a source position lie in a slot.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quantize/kernel_format.h"
#include "quantize/quantize.h"

namespace liveweight {

inline int64_t scale_row_of(const KernelFormat& format, const Segment& segment, int64_t source_row) {
  switch (format.scheme.granularity) {
    case Granularity::kRow:
    case Granularity::kGroup:
      return segment.scale_row + source_row - segment.source_row;
    case Granularity::kBlock:
      return segment.scale_row + source_row / format.scheme.size - segment.source_row / format.scheme.size;
    default:
      return format.scale_per_segment ? segment.scale_row : 0;
  }
}

inline int64_t scale_col_of(const KernelFormat& format, int64_t source_col) {
  const bool split =
      format.scheme.granularity == Granularity::kGroup || format.scheme.granularity == Granularity::kBlock;
  return split ? source_col / format.scheme.size - format.source_col / format.scheme.size : 0;
}

// Whether the segment keeps that row of the source.
inline bool keeps_row(const Segment& segment, int64_t source_row) {
  return source_row >= segment.source_row && source_row < segment.source_row + segment.rows;
}

// Of one element's code, or of the element where nothing is quantized.
inline int64_t code_bits(const KernelFormat& format) {
  if (format.scheme.element == Element::kInt4 && format.data.dtype == DType::kU8) return 4;
  return format.scheme.quantizes() ? 8 : bits_of(format.source_dtype);
}

// The first byte of a row of a part.
inline uint64_t row_offset(const Part& part, int64_t matrix, int64_t row) {
  return part.offset + static_cast<uint64_t>((matrix * part.rows + row) * part.row_bytes);
}

// The segment that holds a local row.
inline const Segment& segment_of(const KernelFormat& format, int64_t row) {
  for (const Segment& segment : format.segments) {
    if (row < segment.row + segment.rows) return segment;
  }
  return format.segments.back();
}

// Stores the scale, and the zero point where there is one, of the unit that holds a kept source position. A
// matrix's one scale is stored with its first element alone, as several threads may share the matrix.
void store_unit_scale(const SlotRegion& region, int64_t source_row, int64_t source_col, float scale,
                      float zero);

// The same for `count` units side by side in one row, the first of which holds that position.
void store_unit_scales(const SlotRegion& region, int64_t source_row, int64_t source_col, const float* scale,
                       const float* zero, int64_t count);

}  // namespace liveweight
