// Walks a box whose units are groups of one row's elements, or short rows, which are groups of one long row
// where they lie one behind the other. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_GROUPS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_GROUPS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_GROUPS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstring>

#include "quantize/box_units-inl.h"
#include "quantize/group_extremes-inl.h"
#include "quantize/unit_values-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S>
class GroupWalk {
 public:
  using Bits = typename S::Bits;

  explicit GroupWalk(BoxUnits<S>& units)
      : units_(units),
        box_(units.box),
        format_(units.format),
        size_(format_.scheme.granularity == Granularity::kGroup ? format_.scheme.size : box_.cols),
        ahead_(2 * box_.stride * static_cast<int64_t>(sizeof(Bits))) {
    const bool whole = size_ > 0 && GroupExtremes<S>::fits(size_) && format_.source_col % size_ == 0;
    if (!whole) return;
    first_ = (units_.kept_begin - format_.source_col) / size_;
    whole_ = (units_.kept_end - units_.kept_begin) / size_;
    if (size_ <= kShort && box_.stride == box_.cols) set_short_batches();
  }

  // How many short rows are done as one row; 1 where they are not.
  int64_t rows_at_once() const {
    if (size_ > kLongest || whole_ == 0 || whole_ * size_ != box_.cols) return 1;
    const auto follow = [&](const Part& part) {
      return part.bytes == 0 || 8 * part.row_bytes == whole_ * bits_of(part.dtype);
    };
    const bool one = units_.is_one_run() && follow(format_.scale) && follow(format_.zero_point);
    return one ? std::max<int64_t>(1, std::min(kBatch, kElements / size_) / whole_) : 1;
  }

  Fault quantize_rows(int64_t at_once) {
    for (int64_t row = box_.row; row < units_.row_end(); row += at_once) {
      const int64_t rows = std::min(at_once, units_.row_end() - row);
      if (Fault fault = groups(row, rows, 0, rows * whole_)) return fault;
    }
    return std::nullopt;
  }

  Fault quantize() {
    if (const int64_t rows = rows_at_once(); rows > 1) return quantize_rows(rows);
    for (int64_t row = box_.row; row < units_.row_end(); ++row) {
      if (Fault fault = quantize_row(row)) return fault;
      if (code_bits(format_) == 4 && units_.keeps(row)) clear_padding(row);
    }
    return std::nullopt;
  }

 private:
  static constexpr int64_t kLongest = 512;  // group that is worth it
  static constexpr int64_t kShort = 32;
  static constexpr int64_t kElements = 8192;  // what the first-level cache holds until it is encoded

  Fault quantize_row(int64_t row) {
    const int64_t begin = whole_ ? units_.kept_begin : units_.col_end();
    if (Fault fault = ragged_groups(row, box_.col, begin)) return fault;
    for (int64_t i = 0; i < whole_; i += at_once_) {
      if (Fault fault = groups(row, 1, i, std::min(at_once_, whole_ - i))) return fault;
    }
    return ragged_groups(row, begin + whole_ * size_, units_.col_end());
  }

  // Memory is busy while groups are encoded and idle while extremes are searched for, and less is in the way
  // in the first-level cache. What takes longer to encode than memory to read: more at once, for less
  // overhead.
  void set_short_batches() {
    const bool quick = sizeof(Bits) == 4 || (units_.symmetric && S::kMantissaBits == 7);
    const int64_t bytes = quick ? 2 << 10 : 4 << 10,
                  two_groups = 2 * size_ * static_cast<int64_t>(sizeof(Bits));
    at_once_ = std::min(kBatch, 2 * (bytes / two_groups));  // an even number: a byte holds two codes
    ahead_ = 8 << 10;
  }

  // That many whole groups at once, a group a lane wherever that is possible: of a row, or all of several
  // rows.
  Fault groups(int64_t row, int64_t rows, int64_t group, int64_t count) {
    const int64_t col = units_.kept_begin + group * size_;
    const Bits* from = units_.at(row, col);
    const bool regular =
        units_.symmetric ? GroupExtremes<S>::magnitudes(from, count, size_, largest_.data())
                         : GroupExtremes<S>::ranges(from, count, size_, smallest_.data(), largest_.data());
    if (!regular) return units_.oracle(row, rows, col, count * size_ / rows);
    if (!units_.keeps(row)) return std::nullopt;
    widen(count);
    if (!units_.make_scales(count)) return units_.oracle(row, rows, col, count * size_ / rows);
    store_scales(row, first_ + group, count);
    auto* to = reinterpret_cast<uint8_t*>(units_.data_row(row) +
                                          (col - format_.source_col) * code_bits(format_) / 8);
    units_.encoders.groups(from, count, size_, units_.batch, units_.code_range(), to, ahead_);
    return std::nullopt;
  }

  void store_scales(int64_t row, int64_t group, int64_t count) const {
    store(format_.scale, row, group, units_.batch.scale, count);
    if (format_.zero_point.bytes > 0) store(format_.zero_point, row, group, units_.batch.zero, count);
  }

  void store(const Part& part, int64_t row, int64_t group, const float* values, int64_t count) const {
    const SlotRegion& region = units_.region;
    std::byte* to = region.slot +
                    row_offset(part, region.matrix, scale_row_of(format_, region.segment, row)) +
                    group * (bits_of(part.dtype) / 8);
    store_unit_values<S>(part.dtype, values, count, to);
  }

  Fault ragged_groups(int64_t row, int64_t begin, int64_t end) {
    for (int64_t col = begin; col < end; col += kBatch * size_) {
      if (Fault fault = ragged_batch(row, col, std::min(col + kBatch * size_, end))) return fault;
    }
    return std::nullopt;
  }

  // Up to kBatch groups of any size, side by side.
  Fault ragged_batch(int64_t row, int64_t begin, int64_t end) {
    const int64_t count = (end - begin + size_ - 1) / size_;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      const auto unit = units_.extremes(row, begin + i * size_, std::min(begin + (i + 1) * size_, end));
      regular &= unit.finite();
      largest_[i] = unit.largest;
      smallest_[i] = unit.smallest;
    }
    if (!regular) return units_.oracle(row, 1, begin, end - begin);
    if (!units_.keeps(row)) return std::nullopt;
    widen(count);
    if (!units_.make_scales(count)) return units_.oracle(row, 1, begin, end - begin);
    units_.prepare_coders(count, size_);
    units_.store_scales(row, begin, size_, count);
    units_.encode(row, 1, begin, end, size_, units_.coders.data(), ahead_);
    return std::nullopt;
  }

  void widen(int64_t count) {
    for (int64_t i = 0; i < count; i += kLanes) {
      units_.set_extremes(i, S::load(largest_.data() + i), S::load(smallest_.data() + i));
    }
  }

  void clear_padding(int64_t row) const {
    const int64_t cols = units_.kept_end - format_.source_col, used = (cols + 1) / 2;
    if (cols == format_.cols) {
      std::memset(units_.data_row(row) + used, 0, static_cast<size_t>(format_.data.row_bytes - used));
    }
  }

  BoxUnits<S>& units_;
  const SourceBox& box_;
  const KernelFormat& format_;
  const int64_t size_;
  int64_t ahead_;  // the row after the next, or what set_short_batches says
  // Groups that are kept whole, of a size that `groups` can do: which is the first in the slot, and how many
  // a row. Known once a box: a division of 64-bit integers takes as long as three of the groups.
  int64_t first_ = 0, whole_ = 0;
  int64_t at_once_ = kBatch;  // groups of a row
  HWY_ALIGN std::array<Bits, kBatch> largest_ = {};
  HWY_ALIGN std::array<Bits, kBatch> smallest_ = {};
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
