// Walks the units of a box: finds extremes, makes scales, encodes. A unit that is out of the ordinary (not
// finite, or with a scale of zero) is left to the oracle, which finds the same fault or the same bytes.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#endif

#include <hwy/cache_control.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "quantize/encoders-inl.h"
#include "quantize/extremes-inl.h"
#include "quantize/quantize.h"
#include "quantize/unit_layout.h"
#include "quantize/unit_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

using Fault = std::optional<QuantizeFault>;

template <class S>
class BoxQuantizer {
 public:
  using Bits = typename S::Bits;

  BoxQuantizer(const SourceBox& box, const SlotRegion& region, const TensorUnit& tensor)
      : box_(box),
        region_(region),
        format_(*region.format),
        tensor_(tensor),
        rule_(rule_for(format_.scheme, box.dtype)),
        maker_(rule_),
        symmetric_(rule_.form != ScaleForm::kRange && rule_.form != ScaleForm::kRangeWithZero),
        encode_(find_encoders<S>(format_.scheme.element, rule_.encoding, rule_.integer_zero)),
        kept_begin_(std::max(box.col, format_.source_col)),
        kept_end_(std::max(kept_begin_, std::min(box.col + box.cols, format_.source_col + format_.cols))) {}

  Fault run() {
    Fault fault;
    if (!format_.scheme.quantizes()) {
      fault = copy_rows();
    } else if (!encode_.strip || splits_bytes()) {
      fault = oracle(box_.row, box_.rows, box_.col, box_.cols);
    } else if (format_.scheme.granularity == Granularity::kBlock) {
      fault = block_rows();
    } else if (format_.scheme.granularity == Granularity::kGroup) {
      fault = group_rows();
    } else if (format_.scheme.granularity == Granularity::kTensor) {
      fault = tensor_rows();
    } else {
      fault = rows();
    }
    hwy::FlushStream();
    return fault;
  }

 private:
  static constexpr int64_t kStripBlocks = 2;  // side by side: what of a row of blocks is worked on at a time

  // Whether a group begins in the middle of a byte of codes.
  bool splits_bytes() const {
    return format_.scheme.element == Element::kInt4 &&
           (format_.scheme.size % 2 != 0 || format_.source_col % 2 != 0 || box_.col % 2 != 0);
  }

  Fault oracle(int64_t row, int64_t rows, int64_t col, int64_t cols) const {
    SourceBox part = box_;
    part.data = reinterpret_cast<const std::byte*>(at(row, col));
    part.row = row, part.rows = rows;
    part.col = col, part.cols = cols;
    return quantize_box_reference(part, region_, tensor_);
  }

  const Bits* at(int64_t row, int64_t col) const {
    return reinterpret_cast<const Bits*>(box_.data) + (row - box_.row) * box_.stride + (col - box_.col);
  }

  bool keeps(int64_t row) const { return keeps_row(region_.segment, row) && kept_begin_ < kept_end_; }

  std::byte* data_row(int64_t row) const {
    return region_.slot +
           row_offset(format_.data, region_.matrix, region_.segment.row + row - region_.segment.source_row);
  }

  // Whether all rows of the box are kept whole and lie one behind the other, in the source and in the slot.
  bool is_one_run() const {
    return box_.rows > 0 && keeps(box_.row) && keeps(box_.row + box_.rows - 1) && box_.stride == box_.cols &&
           kept_begin_ == box_.col && kept_end_ == box_.col + box_.cols && format_.source_col == box_.col &&
           format_.data.row_bytes == box_.cols * static_cast<int64_t>(sizeof(Bits));
  }

  Fault copy_rows() const {
    const int64_t run = is_one_run() ? box_.rows : 1;
    for (int64_t row = box_.row; row < box_.row + box_.rows; row += run) {
      LargestMagnitude<S> largest;
      if (keeps(row)) {
        auto* to = reinterpret_cast<Bits*>(data_row(row)) + (kept_begin_ - format_.source_col);
        largest.add(at(row, box_.col), kept_begin_ - box_.col);
        largest.add_copied(at(row, kept_begin_), run * (kept_end_ - kept_begin_), to);
        largest.add(at(row, kept_end_), box_.col + box_.cols - kept_end_);
      } else {
        largest.add(at(row, box_.col), box_.cols);
      }
      if (!is_finite<S>(largest.get())) return oracle(row, run, box_.col, box_.cols);
    }
    return std::nullopt;
  }

  // Rows as units, a few at a time, so that the first-level cache still holds them when they are encoded.
  Fault rows() {
    constexpr int64_t kBytes = 16 << 10;
    const int64_t row_bytes = std::max<int64_t>(1, box_.cols * static_cast<int64_t>(sizeof(Bits)));
    const int64_t step = std::clamp<int64_t>(kBytes / row_bytes, 1, kLanes), end = box_.row + box_.rows;
    ahead_ = 2 * step * box_.stride * static_cast<int64_t>(sizeof(Bits));
    for (int64_t row = box_.row; row < end; row += step) {
      if (Fault fault = row_batch(row, std::min(step, end - row))) return fault;
    }
    return std::nullopt;
  }

  Fault row_batch(int64_t row, int64_t count) {
    const int64_t col = box_.col, end = box_.col + box_.cols;
    UnitLanes<S> largest, smallest;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      const UnitExtremes unit = extremes(row + i, col, end);
      regular &= unit.finite();
      largest.set(i, unit.largest);
      smallest.set(i, unit.smallest);
    }
    if (!regular) return oracle(row, count, col, box_.cols);
    set_extremes(0, largest.widened(), smallest.widened());
    if (!maker_.make(batch_, count)) return oracle(row, count, col, box_.cols);
    prepare_coders(count, box_.cols);
    for (int64_t i = 0; i < count; ++i) {
      if (!keeps(row + i)) continue;
      store_unit_scale(region_, row + i, kept_begin_, batch_.scale[i], batch_.zero[i]);
      encode(row + i, 1, col, end, box_.cols, &coders_[i]);
    }
    return std::nullopt;
  }

  // Rows of a tensor-wide unit.
  Fault tensor_rows() {
    batch_.amax[0] = tensor_.amax;
    if (!maker_.make(batch_, 1)) return oracle(box_.row, box_.rows, box_.col, box_.cols);
    prepare_coders(1, box_.rows * box_.cols);
    for (int64_t row = box_.row; row < box_.row + box_.rows; ++row) {
      if (!extremes(row, box_.col, box_.col + box_.cols).finite()) return oracle(row, 1, box_.col, box_.cols);
      if (!keeps(row)) continue;
      store_unit_scale(region_, row, kept_begin_, batch_.scale[0], batch_.zero[0]);
      encode(row, 1, box_.col, box_.col + box_.cols, box_.cols, &coders_[0]);
    }
    return std::nullopt;
  }

  Fault group_rows() {
    const int64_t size = format_.scheme.size;
    for (int64_t row = box_.row; row < box_.row + box_.rows; ++row) {
      for (int64_t col = box_.col; col < box_.col + box_.cols;) {
        const int64_t whole = whole_groups(col, size);
        const int64_t end = std::min(col + size * (whole ? whole : kBatch), box_.col + box_.cols);
        if (Fault fault = whole ? groups(row, col, whole, size) : ragged_groups(row, col, end)) return fault;
        col = end;
      }
      if (format_.scheme.element == Element::kInt4 && keeps(row)) clear_padding(row);
    }
    return std::nullopt;
  }

  // How many groups from `col` on, up to kBatch, are whole and kept whole; 0 where they are not of a size
  // that `groups` can do.
  int64_t whole_groups(int64_t col, int64_t size) const {
    if (!GroupExtremes<S>::fits(size) || col < kept_begin_) return 0;
    if (format_.source_col % size != 0) return 0;
    return std::clamp<int64_t>((kept_end_ - col) / size, 0, kBatch);
  }

  // That many groups at once, a group a lane wherever that is possible.
  Fault groups(int64_t row, int64_t col, int64_t count, int64_t size) {
    const Bits* from = at(row, col);
    const bool regular = symmetric_
                             ? GroupExtremes<S>::magnitudes(from, count, size, largest_.data())
                             : GroupExtremes<S>::ranges(from, count, size, smallest_.data(), largest_.data());
    if (!regular) return oracle(row, 1, col, count * size);
    if (!keeps(row)) return std::nullopt;
    widen(count);
    if (!maker_.make(batch_, count)) return oracle(row, 1, col, count * size);
    store_group_scales(row, col, count);
    const bool offset = rule_.form == ScaleForm::kRange;
    const Factors range{0, 0, 0, offset ? 0.0f : rule_.lowest, offset ? 15.0f : rule_.highest};
    const int64_t bits = format_.scheme.element == Element::kInt4 ? 4 : 8;
    encode_.groups(from, count, size, batch_, range,
                   reinterpret_cast<uint8_t*>(data_row(row) + (col - format_.source_col) * bits / 8), ahead_);
    return std::nullopt;
  }

  // Scales of the source's dtype are rounded to it already: their bits are all there is to store.
  void store_group_scales(int64_t row, int64_t col, int64_t count) const {
    if constexpr (sizeof(Bits) == 2) {
      if (format_.scale.dtype == box_.dtype && format_.zero_point.bytes == 0) {
        const hn::Rebind<Bits, IntTag> d;
        auto* to = reinterpret_cast<Bits*>(
            region_.slot +
            row_offset(format_.scale, region_.matrix, scale_row_of(format_, region_.segment, row)) +
            scale_col_of(format_, col) * static_cast<int64_t>(sizeof(Bits)));
        for (int64_t i = 0; i < count; i += kLanes) {
          const auto bits = hn::DemoteTo(d, S::bits_of(hn::Load(FloatTag(), batch_.scale + i)));
          if (i + kLanes <= count) {
            hn::StoreU(bits, d, to + i);
          } else {
            HWY_ALIGN Bits rest[kLanes];
            hn::Store(bits, d, rest);
            std::memcpy(to + i, rest, static_cast<size_t>(count - i) * sizeof(Bits));
          }
        }
        return;
      }
    }
    store_unit_scales(region_, row, col, batch_.scale, batch_.zero, count);
  }

  // Up to kBatch groups of any size, side by side.
  Fault ragged_groups(int64_t row, int64_t begin, int64_t end) {
    const int64_t size = format_.scheme.size, count = (end - begin + size - 1) / size;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      const UnitExtremes unit = extremes(row, begin + i * size, std::min(begin + (i + 1) * size, end));
      regular &= unit.finite();
      largest_[i] = unit.largest;
      smallest_[i] = unit.smallest;
    }
    if (!regular) return oracle(row, 1, begin, end - begin);
    if (!keeps(row)) return std::nullopt;
    widen(count);
    if (!maker_.make(batch_, count)) return oracle(row, 1, begin, end - begin);
    prepare_coders(count, size);
    store_scales(row, begin, size, count);
    encode(row, 1, begin, end, size, coders_.data());
    return std::nullopt;
  }

  struct UnitExtremes {
    Bits largest, smallest = 0;
    bool finite() const { return is_finite<S>(largest) && is_finite<S>(smallest); }
  };

  // Of one unit in one row.
  UnitExtremes extremes(int64_t row, int64_t begin, int64_t end) const {
    if (symmetric_) {
      LargestMagnitude<S> largest;
      largest.add(at(row, begin), end - begin);
      return {largest.get()};
    }
    Range<S> range;
    range.add(at(row, begin), end - begin);
    return {range.largest(), range.smallest()};
  }

  // Of the batch's units from that one on.
  void set_extremes(int64_t unit, FloatVector largest, FloatVector smallest) {
    const FloatTag d;
    hn::Store(largest, d, batch_.amax + unit);
    hn::Store(largest, d, batch_.max + unit);
    hn::Store(smallest, d, batch_.min + unit);
  }

  void widen(int64_t count) {
    for (int64_t i = 0; i < count; i += kLanes) {
      set_extremes(i, S::load(largest_.data() + i), S::load(smallest_.data() + i));
    }
  }

  void store_scales(int64_t row, int64_t col, int64_t size, int64_t count) const {
    const int64_t first = std::max(kept_begin_, col) / size * size;
    for (int64_t unit = (first - col) / size; unit < count && col + unit * size < kept_end_; ++unit) {
      const int64_t unit_col = std::max(kept_begin_, col + unit * size);
      store_unit_scale(region_, row, unit_col, batch_.scale[unit], batch_.zero[unit]);
    }
  }

  // For units of so many elements.
  void prepare_coders(int64_t count, int64_t elements) {
    const bool offset = rule_.form == ScaleForm::kRange;
    for (int64_t i = 0; i < count; ++i) {
      coders_[i].factors = {batch_.factor[i], batch_.offset[i], batch_.reciprocal[i],
                            offset ? 0.0f : rule_.lowest, offset ? 15.0f : rule_.highest};
      encode_.prepare(coders_[i], elements);
    }
  }

  // Units of `size` columns, side by side from `begin` on.
  void encode(int64_t row, int64_t rows, int64_t begin, int64_t end, int64_t size,
              const UnitCoder* units) const {
    const int64_t first = std::max(begin, kept_begin_), last = std::min(end, kept_end_);
    if (first >= last) return;
    const int64_t local = first - format_.source_col, unit = (first - begin) / size;
    const int64_t byte = format_.scheme.element == Element::kInt4 ? local / 2 : local;
    const Strip strip{at(row, first),
                      box_.stride,
                      reinterpret_cast<uint8_t*>(data_row(row) + byte),
                      format_.data.row_bytes,
                      rows,
                      last - first,
                      size,
                      (first - begin) % size};
    encode_.strip(strip, units + unit, ahead_);
  }

  void clear_padding(int64_t row) const {
    const int64_t used = (kept_end_ - format_.source_col + 1) / 2;
    if (kept_end_ - format_.source_col == format_.cols) {
      std::memset(data_row(row) + used, 0, static_cast<size_t>(format_.data.row_bytes - used));
    }
  }

  Fault block_rows() {
    const int64_t edge = format_.scheme.size;
    for (int64_t row = box_.row; row < box_.row + box_.rows;) {
      const int64_t row_end = std::min((row / edge + 1) * edge, box_.row + box_.rows);
      for (int64_t col = box_.col; col < box_.col + box_.cols;) {
        const int64_t end = std::min(col + kStripBlocks * edge, box_.col + box_.cols);
        prefetch_strip_after(col, end, row_end - row);
        if (Fault fault = blocks(row, row_end, col, end)) return fault;
        col = end;
      }
      row = row_end;
    }
    return std::nullopt;
  }

  // While a strip is encoded, for the second time in this cache, the one after it is fetched row by row: to
  // its right, or of the next row of blocks.
  void prefetch_strip_after(int64_t col, int64_t end, int64_t rows) {
    const bool last = end == box_.col + box_.cols;
    ahead_ = (last ? rows * box_.stride - (col - box_.col) : end - col) * static_cast<int64_t>(sizeof(Bits));
  }

  // Up to kStripBlocks blocks, side by side.
  Fault blocks(int64_t row, int64_t row_end, int64_t col, int64_t end) {
    const int64_t edge = format_.scheme.size, count = (end - col + edge - 1) / edge;
    UnitLanes<S> all;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      LargestMagnitude<S> largest;
      for (int64_t r = row; r < row_end; ++r) {
        largest.add(at(r, col + i * edge), std::min(edge, end - (col + i * edge)));
      }
      all.set(i, largest.get());
      regular &= is_finite<S>(largest.get());
    }
    if (!regular) return oracle(row, row_end - row, col, end - col);
    set_extremes(0, all.widened(), hn::Zero(FloatTag()));
    if (rule_.fill_edges) fill_edges(row_end - row, col, end, count);
    if (!maker_.make(batch_, count)) return oracle(row, row_end - row, col, end - col);
    prepare_coders(count, edge * (row_end - row));
    const int64_t first = std::max(row, region_.segment.source_row);
    const int64_t last = std::min(row_end, region_.segment.source_row + region_.segment.rows);
    if (first < last && keeps(first)) store_scales(first, col, edge, count);
    if (first < last) encode(first, last - first, col, end, edge, coders_.data());
    return std::nullopt;
  }

  // Blocks cut by the tensor's edge count its last element.
  void fill_edges(int64_t rows, int64_t col, int64_t end, int64_t count) {
    const int64_t edge = format_.scheme.size;
    for (int64_t i = 0; i < count; ++i) {
      const bool whole = rows == edge && col + (i + 1) * edge <= end;
      if (!whole) batch_.amax[i] = std::max(batch_.amax[i], std::fabs(tensor_.last_element));
    }
  }

  const SourceBox& box_;
  const SlotRegion& region_;
  const KernelFormat& format_;
  const TensorUnit& tensor_;
  const ProfileRule rule_;
  const ScaleMaker<S> maker_;
  const bool symmetric_;
  const Encoders encode_;
  const int64_t kept_begin_, kept_end_;                                   // of the box's columns
  int64_t ahead_ = 2 * box_.stride * static_cast<int64_t>(sizeof(Bits));  // the row after the next
  UnitBatch batch_ = {};
  HWY_ALIGN std::array<Bits, kBatch> largest_ = {};
  HWY_ALIGN std::array<Bits, kBatch> smallest_ = {};
  std::array<UnitCoder, kBatch> coders_;
};

template <class S>
AmaxResult absolute_maximum_of(const SourceBox& box) {
  LargestMagnitude<S> largest;
  const auto* data = reinterpret_cast<const typename S::Bits*>(box.data);
  for (int64_t row = 0; row < box.rows; ++row) largest.add(data + row * box.stride, box.cols);
  HWY_ALIGN typename S::Bits bits[kLanes] = {largest.get()};
  if (!is_finite<S>(bits[0])) return absolute_maximum_reference(box);
  return {hn::GetLane(S::load(bits)), std::nullopt};
}

Fault quantize_box_on(const SourceBox& box, const SlotRegion& region, const TensorUnit& unit) {
  if (box.dtype == DType::kBF16) return BoxQuantizer<BF16Source>(box, region, unit).run();
  if (box.dtype == DType::kF16) return BoxQuantizer<F16Source>(box, region, unit).run();
  return BoxQuantizer<F32Source>(box, region, unit).run();
}

AmaxResult absolute_maximum_on(const SourceBox& box) {
  if (box.dtype == DType::kBF16) return absolute_maximum_of<BF16Source>(box);
  if (box.dtype == DType::kF16) return absolute_maximum_of<F16Source>(box);
  return absolute_maximum_of<F32Source>(box);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
