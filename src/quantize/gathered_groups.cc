#include "quantize/gathered_groups.h"

#include <cstring>

#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

constexpr int64_t kGroups = 64;  // gathered at most
constexpr size_t kAlignment = 64;

KernelFormat row_of_groups(const KernelFormat& format, DType source) {
  const int64_t cols = kGroups * format.scheme.size;
  return make_kernel_format(format.scheme, source, {1, cols, 0, cols, {Segment{0, 1, 0, 0}}});
}

}  // namespace

GatheredGroups::GatheredGroups(const SlotRegion& region, DType source)
    : region_(region),
      format_(*region.format),
      source_(source),
      size_(format_.scheme.size),
      code_bits_(code_bits(format_)),
      source_bytes_(static_cast<size_t>(size_ * bits_of(source) / 8)),
      code_bytes_(static_cast<size_t>(size_ * code_bits_ / 8)),
      row_(row_of_groups(format_, source)),
      memory_(2 * kAlignment + row_.bytes + kGroups * source_bytes_) {
  // Codes for an aligned place are sent past the caches, but here they are read again at once.
  const size_t past = reinterpret_cast<uintptr_t>(memory_.data()) % kAlignment;
  slot_ = memory_.data() + (kAlignment - past) + alignof(float);
  elements_ = slot_ + row_.bytes;
  groups_.reserve(kGroups);
}

bool GatheredGroups::takes(int64_t row, int64_t col) const {
  return keeps_row(region_.segment, row) && size_ % 2 == 0 && col >= format_.source_col &&
         col + size_ <= format_.source_col + format_.cols && (col - format_.source_col) % 2 == 0;
}

std::byte* GatheredGroups::add(int64_t row, int64_t col) {
  if (groups_.size() == kGroups) flush();
  const auto index = static_cast<int64_t>(groups_.size());
  const int64_t local = region_.segment.row + row - region_.segment.source_row;
  std::byte* code = region_.slot + row_offset(format_.data, region_.matrix, local) +
                    (col - format_.source_col) * code_bits_ / 8;
  __builtin_prefetch(code, 1);
  groups_.push_back({row, col, code});
  return elements_ + static_cast<size_t>(index) * source_bytes_;
}

std::optional<QuantizeFault> GatheredGroups::finish() {
  flush();
  return fault_;
}

void GatheredGroups::flush() {
  const auto count = static_cast<int64_t>(groups_.size());
  if (count == 0) return;
  const int64_t cols = count * size_;
  const SourceBox box{source_, elements_, cols, 0, 1, 0, cols};
  auto fault = quantize_box(box, {&row_, slot_, 0, row_.segments.front()}, TensorUnit{});
  if (fault && !fault_) {
    const Group& group = groups_[static_cast<size_t>(fault->col / size_)];
    fault->row = group.row;
    fault->col = group.col + fault->col % size_;
    fault_ = fault;
  }
  if (!fault) {
    for (int64_t i = 0; i < count; ++i) put(groups_[static_cast<size_t>(i)], i);
  }
  groups_.clear();
}

void GatheredGroups::put(const Group& group, int64_t index) const {
  std::memcpy(group.code, slot_ + row_.data.offset + static_cast<size_t>(index) * code_bytes_, code_bytes_);
  const int64_t row = scale_row_of(format_, region_.segment, group.row);
  const int64_t col = scale_col_of(format_, group.col);
  const auto copy = [&](const Part& to, const Part& from) {
    const auto each = bits_of(to.dtype) / 8;
    std::memcpy(region_.slot + row_offset(to, region_.matrix, row) + col * each,
                slot_ + from.offset + static_cast<size_t>(index * each), static_cast<size_t>(each));
  };
  copy(format_.scale, row_.scale);
  if (format_.zero_point.bytes > 0) copy(format_.zero_point, row_.zero_point);
}

}  // namespace liveweight
