#include "quantize/patch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

// Division of positions by one number of columns.
class RowOf {
 public:
  explicit RowOf(int64_t cols) : cols_(cols), inverse_(1.0 / static_cast<double>(cols)) {}
  int64_t operator()(uint32_t position) const {
    auto row = static_cast<int64_t>(static_cast<double>(position) * inverse_);
    row -= row * cols_ > position;
    row += (row + 1) * cols_ <= position;
    return row;
  }

 private:
  int64_t cols_;
  double inverse_;
};

bool keeps_row(const Segment& segment, int64_t row) {
  return row >= segment.source_row && row < segment.source_row + segment.rows;
}

// From the first byte of a row of codes.
int64_t code_offset(const KernelFormat& format, int64_t col, int64_t element_bytes) {
  const int64_t local = col - format.source_col;
  if (format.scheme.element == Element::kInt4) return local / 2;
  return format.scheme.quantizes() ? local : local * element_bytes;
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

struct ElementPatcher::Batch {
  int64_t count = 0;
  size_t index[kElementBatch];     // among the changes
  std::byte* code[kElementBatch];  // null where the region does not keep the element
  const std::byte* scale[kElementBatch];
  bool high_nibble[kElementBatch];
  ElementBatch elements;
};

ElementPatcher::ElementPatcher(const SlotRegion& region, DType source)
    : region_(region),
      format_(*region.format),
      source_(source),
      element_bytes_(bits_of(source) / 8),
      unit_cols_(columns_of_units(format_)) {
  if (format_.scheme.quantizes()) rule_ = ElementRule(format_.scheme, source);
}

void ElementPatcher::run(const ElementChanges& changes, std::vector<uint32_t>& doubtful) const {
  if (!format_.scheme.quantizes()) return copy(changes);
  // While one batch is finished the lines of the next are on their way.
  Batch batches[2];
  size_t next = 0;
  locate(changes, next, batches[0]);
  for (int64_t turn = 0; batches[turn % 2].count > 0; ++turn) {
    locate(changes, next, batches[(turn + 1) % 2]);
    finish(changes, batches[turn % 2], doubtful);
  }
}

void ElementPatcher::locate(const ElementChanges& changes, size_t& next, Batch& batch) const {
  const RowOf row_of(changes.cols);
  const Segment& segment = region_.segment;
  const int64_t last_row = segment.source_row + std::max<int64_t>(segment.rows, 1) - 1;
  const auto scale_bytes = bits_of(format_.scale.dtype) / 8;
  batch.count = 0;
  for (; next < changes.positions.size() && batch.count < kElementBatch; ++next) {
    const int64_t row = row_of(changes.positions[next]);
    const int64_t col = changes.positions[next] - row * changes.cols;
    if (col < unit_cols_.begin || col >= unit_cols_.end) continue;
    const int64_t at = batch.count++;
    batch.index[at] = next;
    const int64_t unit_row = std::clamp(row, segment.source_row, last_row);
    const int64_t unit_col = std::clamp(col, format_.source_col, format_.source_col + format_.cols - 1);
    batch.scale[at] = region_.slot +
                      row_offset(format_.scale, region_.matrix, scale_row_of(format_, segment, unit_row)) +
                      scale_col_of(format_, unit_col) * scale_bytes;
    __builtin_prefetch(batch.scale[at]);
    batch.code[at] = nullptr;
    if (!keeps_row(segment, row) || col != unit_col) continue;
    batch.code[at] = region_.slot +
                     row_offset(format_.data, region_.matrix, segment.row + row - segment.source_row) +
                     code_offset(format_, col, element_bytes_);
    batch.high_nibble[at] = ((col - format_.source_col) & 1) != 0;
    __builtin_prefetch(batch.code[at], 1);
  }
}

float ElementPatcher::scale_at(const std::byte* at) const {
  return load_high_precision(format_.scale.dtype, at, 0);
}

void ElementPatcher::finish(const ElementChanges& changes, Batch& batch,
                            std::vector<uint32_t>& doubtful) const {
  const bool nibbles = format_.scheme.element == Element::kInt4;
  ElementBatch& elements = batch.elements;
  for (int64_t i = 0; i < batch.count; ++i) {
    std::memcpy(elements.elements + i * element_bytes_,
                changes.values + batch.index[i] * static_cast<size_t>(element_bytes_),
                static_cast<size_t>(element_bytes_));
    elements.scale[i] = scale_at(batch.scale[i]);
  }
  if (rule_.from_scale) {
    encode_elements(rule_, elements, batch.count);
  } else {
    elements.unclear = ~uint64_t{0};
  }
  for (int64_t i = 0; i < batch.count; ++i) {
    if (elements.unclear >> i & 1 || decides(changes, batch, i)) {
      doubtful.push_back(changes.positions[batch.index[i]]);
      continue;
    }
    if (!batch.code[i]) continue;
    const auto code = static_cast<std::byte>(elements.code[i]);
    if (!nibbles) {
      *batch.code[i] = code;
    } else if (batch.high_nibble[i]) {
      *batch.code[i] = (*batch.code[i] & std::byte{0x0f}) | code << 4;
    } else {
      *batch.code[i] = (*batch.code[i] & std::byte{0xf0}) | code;
    }
  }
}

// Whether the change of one element may change its unit's scale.
bool ElementPatcher::decides(const ElementChanges& changes, const Batch& batch, int64_t i) const {
  const float scale = batch.elements.scale[i];
  if (batch.elements.large >> i & 1) {
    const float own = rule_.scale_of(std::fabs(load_high_precision(source_, batch.elements.elements, i)));
    // What holds the scale up now holds it up whatever was there before.
    if (own == scale) return false;
    if (!(own < scale)) return true;
  }
  if (batch.code[i]) {
    const auto byte = static_cast<uint8_t>(*batch.code[i]);
    uint8_t code = byte;
    if (format_.scheme.element == Element::kInt4) code = batch.high_nibble[i] ? byte >> 4 : byte & 0x0f;
    if (!rule_.may_decide(code)) return false;
  }
  if (scale == rule_.floor) return false;
  if (!changes.old) return true;
  const uint32_t position = changes.positions[batch.index[i]];
  return !(rule_.scale_of(std::fabs(load_high_precision(source_, changes.old, position))) < scale);
}

void ElementPatcher::copy(const ElementChanges& changes) const {
  const RowOf row_of(changes.cols);
  const auto bytes = static_cast<size_t>(element_bytes_);
  for (size_t i = 0; i < changes.positions.size(); ++i) {
    const int64_t row = row_of(changes.positions[i]), col = changes.positions[i] - row * changes.cols;
    if (!keeps_row(region_.segment, row) || col < unit_cols_.begin || col >= unit_cols_.end) continue;
    const int64_t local = region_.segment.row + row - region_.segment.source_row;
    std::memcpy(region_.slot + row_offset(format_.data, region_.matrix, local) +
                    code_offset(format_, col, element_bytes_),
                changes.values + i * bytes, bytes);
  }
}

void copy_elements(const SlotRegion& to, const std::byte* from, std::span<const uint32_t> positions,
                   int64_t source_cols) {
  const KernelFormat& format = *to.format;
  const RowOf row_of(source_cols);
  const auto bytes = static_cast<size_t>(format.scheme.quantizes() ? 1 : bits_of(format.source_dtype) / 8);
  constexpr size_t kAhead = 64;
  uint64_t offsets[kAhead];
  size_t next = 0;
  while (next < positions.size()) {
    size_t count = 0;
    for (; next < positions.size() && count < kAhead; ++next) {
      const int64_t row = row_of(positions[next]), col = positions[next] - row * source_cols;
      if (!keeps_row(to.segment, row) || col < format.source_col || col >= format.source_col + format.cols)
        continue;
      const int64_t local = to.segment.row + row - to.segment.source_row;
      offsets[count] = row_offset(format.data, to.matrix, local) +
                       static_cast<uint64_t>(code_offset(format, col, static_cast<int64_t>(bytes)));
      __builtin_prefetch(from + offsets[count]);
      __builtin_prefetch(to.slot + offsets[count], 1);
      ++count;
    }
    for (size_t i = 0; i < count; ++i) std::memcpy(to.slot + offsets[i], from + offsets[i], bytes);
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
  const int64_t element_bytes = bits_of(format.source_dtype) / 8;
  const auto copy = [&](uint64_t offset, int64_t bytes) {
    std::memcpy(to.slot + offset, from + offset, static_cast<size_t>(bytes));
  };
  const int64_t code_begin = code_offset(format, begin, element_bytes);
  const int64_t last_bytes = format.scheme.quantizes() ? 1 : element_bytes;
  const int64_t code_bytes = code_offset(format, end, element_bytes) + last_bytes - code_begin;
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
