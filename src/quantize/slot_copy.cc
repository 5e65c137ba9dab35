#include "quantize/slot_copy.h"

#include <algorithm>
#include <cstring>

#include "quantize/element_places.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

// From the first byte of a row of codes.
int64_t code_offset(const KernelFormat& format, int64_t col) {
  return (col - format.source_col) * code_bits(format) / 8;
}

}  // namespace

void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols) {
  const KernelFormat& format = *to.format;
  const ElementPlaces places(to, source_cols);
  const auto bytes = static_cast<size_t>(std::max<int64_t>(code_bits(format) / 8, 1));
  constexpr size_t kUnderWay = 4;
  ElementPlaceBatch batches[kUnderWay];
  for (size_t next = 0; next < positions.size();) {
    size_t count = 0;
    for (; next < positions.size() && count < kUnderWay; ++count) {
      const auto elements = std::min<size_t>(kElementBatch, positions.size() - next);
      locate_elements(places, positions.data() + next, static_cast<int64_t>(elements), batches[count]);
      next += elements;
      for (size_t i = 0; i < elements; ++i) {
        __builtin_prefetch(from + batches[count].code[i]);
        __builtin_prefetch(to.slot + batches[count].code[i], 1);
      }
    }
    for (size_t b = 0; b < count; ++b) {
      for (uint64_t left = batches[b].keeps; left; left &= left - 1) {
        const uint64_t at = batches[b].code[__builtin_ctzll(left)];
        std::memcpy(to.slot + at, from + at, bytes);
      }
    }
  }
}

void copy_units(const SlotRegion& to, const std::byte* from, int64_t row, int64_t rows, int64_t col,
                int64_t cols) {
  const KernelFormat& format = *to.format;
  const Segment& segment = to.segment;
  const int64_t first = std::max(row, segment.source_row);
  const int64_t last = std::min(row + rows, segment.source_row + segment.rows) - 1;
  const int64_t begin = std::max(col, format.source_col);
  const int64_t end = std::min(col + cols, format.source_col + format.cols) - 1;
  if (first > last || begin > end) return;
  const auto copy = [&](uint64_t offset, int64_t bytes) {
    std::memcpy(to.slot + offset, from + offset, static_cast<size_t>(bytes));
  };
  const int64_t code_begin = code_offset(format, begin);
  const int64_t last_bytes = std::max<int64_t>(code_bits(format) / 8, 1);
  const int64_t code_bytes = code_offset(format, end) + last_bytes - code_begin;
  for (int64_t r = first; r <= last; ++r) {
    const int64_t local = segment.row + r - segment.source_row;
    copy(row_offset(format.data, to.matrix, local) + static_cast<uint64_t>(code_begin), code_bytes);
  }
  const int64_t scale_begin = scale_col_of(format, begin), scale_end = scale_col_of(format, end) + 1;
  for (const Part* part : {&format.scale, &format.zero_point}) {
    if (part->bytes == 0) continue;
    const int64_t each = bits_of(part->dtype) / 8;
    for (int64_t r = scale_row_of(format, segment, first); r <= scale_row_of(format, segment, last); ++r) {
      copy(row_offset(*part, to.matrix, r) + static_cast<uint64_t>(scale_begin * each),
           (scale_end - scale_begin) * each);
    }
  }
}

}  // namespace liveweight
