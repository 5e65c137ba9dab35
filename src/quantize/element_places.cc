#include "quantize/element_places.h"

#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

bool splits_rows(const KernelFormat& format) {
  return format.scheme.granularity == Granularity::kGroup || format.scheme.granularity == Granularity::kBlock;
}

uint32_t unit_rows_of(const KernelFormat& format) {
  return static_cast<uint32_t>(format.scheme.granularity == Granularity::kBlock ? format.scheme.size : 1);
}

uint32_t unit_cols_of(const KernelFormat& format) {
  return static_cast<uint32_t>(splits_rows(format) ? format.scheme.size : 1);
}

bool scales_differ_by_row(const KernelFormat& format) {
  return format.scheme.granularity == Granularity::kRow || splits_rows(format);
}

}  // namespace

ElementPlaces::ElementPlaces(const SlotRegion& region, int64_t source_cols)
    : cols_(static_cast<uint32_t>(std::max<int64_t>(source_cols, 1))),
      row_of_(cols_),
      unit_row_of_(unit_rows_of(*region.format)),
      unit_col_of_(unit_cols_of(*region.format)) {
  const KernelFormat& format = *region.format;
  const Segment& segment = region.segment;
  rows_ = static_cast<uint64_t>(segment.rows);
  first_row_ = segment.source_row;
  last_row_ = std::max<int64_t>(segment.rows, 1) - 1;
  first_col_ = static_cast<uint32_t>(format.source_col);
  last_col_ = static_cast<uint32_t>(format.source_col + format.cols - 1);
  code_bits_ = static_cast<uint32_t>(code_bits(format));
  codes_ = row_offset(format.data, region.matrix, segment.row);
  code_row_bytes_ = static_cast<uint64_t>(format.data.row_bytes);
  first_unit_row_ = unit_row_of_.divide(static_cast<uint32_t>(first_row_));
  first_unit_col_ = unit_col_of_.divide(first_col_);
  scales_ = row_offset(format.scale, region.matrix, scale_row_of(format, segment, first_row_));
  scale_row_bytes_ = scales_differ_by_row(format) ? static_cast<uint64_t>(format.scale.row_bytes) : 0;
  scale_bytes_ = splits_rows(format) ? static_cast<uint64_t>(bits_of(format.scale.dtype) / 8) : 0;
}

}  // namespace liveweight
