#include "quantize/element_places.h"

#include <algorithm>
#include <bit>

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

ColumnRange columns_of_units(const KernelFormat& format) {
  const int64_t begin = format.source_col, end = format.source_col + format.cols, size = format.scheme.size;
  switch (format.scheme.granularity) {
    case Granularity::kNone:
      return {begin, end};
    case Granularity::kGroup:
    case Granularity::kBlock:
      return {begin / size * size, std::min((end + size - 1) / size * size, format.source_cols)};
    default:
      return {0, format.source_cols};
  }
}

ElementPlaces::ElementPlaces(const SlotRegion& region, int64_t source_cols)
    : cols(static_cast<uint32_t>(std::max<int64_t>(source_cols, 1))),
      unit_rows(unit_rows_of(*region.format)),
      row_of(cols),
      unit_row_of(unit_rows),
      unit_col_of(unit_cols_of(*region.format)) {
  const KernelFormat& format = *region.format;
  const Segment& segment = region.segment;
  const ColumnRange counting = columns_of_units(format);
  first_row = segment.source_row;
  rows = segment.rows;
  first_col = static_cast<uint32_t>(format.source_col);
  last_col = static_cast<uint32_t>(format.source_col + format.cols - 1);
  first_counting_col = static_cast<uint32_t>(counting.begin);
  counting_cols = static_cast<uint32_t>(counting.end - counting.begin);
  code_bits_log2 = static_cast<uint32_t>(std::countr_zero(static_cast<uint32_t>(code_bits(format))));
  code_mask = static_cast<uint8_t>((1u << std::min(code_bits(format), int64_t{8})) - 1);
  codes = row_offset(format.data, region.matrix, segment.row);
  code_row_bytes = static_cast<uint64_t>(format.data.row_bytes);
  first_unit_row = unit_row_of.divide(static_cast<uint32_t>(first_row));
  first_unit_col = unit_col_of.divide(first_col);
  scales = row_offset(format.scale, region.matrix, scale_row_of(format, segment, first_row));
  scale_row_bytes = scales_differ_by_row(format) ? static_cast<uint64_t>(format.scale.row_bytes) : 0;
  scale_bytes = splits_rows(format) ? static_cast<uint64_t>(bits_of(format.scale.dtype) / 8) : 0;
}

ElementPlace ElementPlaces::operator()(uint32_t position) const {
  const uint32_t source_row = row_of.divide(position), source_col = position - source_row * cols;
  const int64_t row = int64_t{source_row} - first_row;
  const int64_t kept_row = std::clamp(row, int64_t{0}, std::max<int64_t>(rows, 1) - 1);
  const uint32_t kept_col = std::clamp(source_col, first_col, last_col);
  const uint64_t bit = uint64_t{kept_col - first_col} << code_bits_log2;
  ElementPlace place;
  place.keeps = row >= 0 && row < rows && source_col == kept_col;
  place.counts = source_col - first_counting_col < counting_cols;
  place.mask = static_cast<uint8_t>(code_mask << bit % 8);
  place.code = codes + static_cast<uint64_t>(kept_row) * code_row_bytes + bit / 8;
  const uint32_t unit_row = unit_row_of.divide(static_cast<uint32_t>(kept_row + first_row));
  const uint32_t unit_col = unit_col_of.divide(kept_col);
  place.scale = scales + uint64_t{unit_row - first_unit_row} * scale_row_bytes +
                uint64_t{unit_col - first_unit_col} * scale_bytes;
  return place;
}

void locate_elements_reference(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                               ElementPlaceBatch& batch) {
  batch.keeps = batch.counts = 0;
  for (int64_t i = 0; i < kElementBatch; ++i) {
    const ElementPlace place = places(positions[std::min(i, count - 1)]);
    batch.keeps |= uint64_t{place.keeps && i < count} << i;
    batch.counts |= uint64_t{place.counts && i < count} << i;
    batch.mask[i] = place.mask;
    batch.code[i] = place.code;
    batch.scale[i] = place.scale;
  }
}

}  // namespace liveweight
