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

// body(offset, bytes) for each element that the region keeps; those some way ahead are fetched from the slot
// and, where there is one, from the `other`.
template <typename Body>
void visit_elements(const SlotRegion& region, std::span<const uint32_t> positions, int64_t source_cols,
                    const std::byte* other, const Body& body) {
  const ElementPlaces places(region, source_cols);
  const auto bytes = static_cast<size_t>(std::max<int64_t>(code_bits(*region.format) / 8, 1));
  constexpr size_t kUnderWay = 4;
  ElementPlaceBatch batches[kUnderWay];
  for (size_t next = 0; next < positions.size();) {
    size_t count = 0;
    for (; next < positions.size() && count < kUnderWay; ++count) {
      const auto elements = std::min<size_t>(kElementBatch, positions.size() - next);
      locate_elements(places, positions.data() + next, static_cast<int64_t>(elements), batches[count]);
      next += elements;
      for (size_t i = 0; i < elements; ++i) {
        if (other) __builtin_prefetch(other + batches[count].code[i]);
        __builtin_prefetch(region.slot + batches[count].code[i], 1);
      }
    }
    for (size_t b = 0; b < count; ++b) {
      for (uint64_t left = batches[b].keeps; left; left &= left - 1) {
        body(uint64_t{batches[b].code[__builtin_ctzll(left)]}, bytes);
      }
    }
  }
}

// body(offset, bytes) for each run of bytes of the units.
template <typename Body>
void visit_units(const SlotRegion& region, const SourceArea& area, const Body& body) {
  const KernelFormat& format = *region.format;
  const Segment& segment = region.segment;
  const int64_t first = std::max(area.row, segment.source_row);
  const int64_t last = std::min(area.row + area.rows, segment.source_row + segment.rows) - 1;
  const int64_t begin = std::max(area.col, format.source_col);
  const int64_t end = std::min(area.col + area.cols, format.source_col + format.cols) - 1;
  if (first > last || begin > end) return;
  const int64_t code_begin = code_offset(format, begin);
  const int64_t last_bytes = std::max<int64_t>(code_bits(format) / 8, 1);
  const int64_t code_bytes = code_offset(format, end) + last_bytes - code_begin;
  for (int64_t r = first; r <= last; ++r) {
    const int64_t local = segment.row + r - segment.source_row;
    body(row_offset(format.data, region.matrix, local) + static_cast<uint64_t>(code_begin),
         static_cast<size_t>(code_bytes));
  }
  const int64_t scale_begin = scale_col_of(format, begin), scale_end = scale_col_of(format, end) + 1;
  for (const Part* part : {&format.scale, &format.zero_point}) {
    if (part->bytes == 0) continue;
    const int64_t each = bits_of(part->dtype) / 8;
    for (int64_t r = scale_row_of(format, segment, first); r <= scale_row_of(format, segment, last); ++r) {
      body(row_offset(*part, region.matrix, r) + static_cast<uint64_t>(scale_begin * each),
           static_cast<size_t>((scale_end - scale_begin) * each));
    }
  }
}

auto copying(const SlotRegion& to, const std::byte* from) {
  return [slot = to.slot, from](uint64_t offset, size_t bytes) {
    std::memcpy(slot + offset, from + offset, bytes);
  };
}

auto packing(const SlotRegion& from, std::vector<std::byte>& packed) {
  return [slot = from.slot, &packed](uint64_t offset, size_t bytes) {
    packed.insert(packed.end(), slot + offset, slot + offset + bytes);
  };
}

auto unpacking(const SlotRegion& to, const std::byte*& packed) {
  return [slot = to.slot, &packed](uint64_t offset, size_t bytes) {
    std::memcpy(slot + offset, packed, bytes);
    packed += bytes;
  };
}

}  // namespace

void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols) {
  visit_elements(to, positions, source_cols, from, copying(to, from));
}

void copy_units(const SlotRegion& to, const std::byte* from, const SourceArea& area) {
  visit_units(to, area, copying(to, from));
}

void pack_elements(const SlotRegion& from, std::span<const uint32_t> positions, int64_t source_cols,
                   std::vector<std::byte>& packed) {
  visit_elements(from, positions, source_cols, nullptr, packing(from, packed));
}

void pack_units(const SlotRegion& from, const SourceArea& area, std::vector<std::byte>& packed) {
  visit_units(from, area, packing(from, packed));
}

const std::byte* unpack_elements(const SlotRegion& to, std::span<const uint32_t> positions,
                                 int64_t source_cols, const std::byte* packed) {
  visit_elements(to, positions, source_cols, nullptr, unpacking(to, packed));
  return packed;
}

const std::byte* unpack_units(const SlotRegion& to, const SourceArea& area, const std::byte* packed) {
  visit_units(to, area, unpacking(to, packed));
  return packed;
}

}  // namespace liveweight
