// What the walks over a box's units share: where elements and codes lie, extremes, scales, encoding. A unit
// that is out of the ordinary (not finite, or with a scale of zero) is left to the oracle, which finds the
// same fault or the same bytes. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_UNITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_UNITS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_UNITS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_UNITS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <optional>

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
class BoxUnits {
 public:
  using Bits = typename S::Bits;

  BoxUnits(const SourceBox& box, const SlotRegion& region, const TensorUnit& tensor)
      : box(box),
        region(region),
        format(*region.format),
        tensor(tensor),
        rule(rule_for(format.scheme, box.dtype)),
        symmetric(rule.form != ScaleForm::kRange && rule.form != ScaleForm::kRangeWithZero),
        encoders(find_encoders<S>(format.scheme.element, code_bits(format), rule)),
        kept_begin(std::max(box.col, format.source_col)),
        kept_end(std::max(kept_begin, std::min(box.col + box.cols, format.source_col + format.cols))),
        maker_(rule) {}

  int64_t row_end() const { return box.row + box.rows; }
  int64_t col_end() const { return box.col + box.cols; }

  const Bits* at(int64_t row, int64_t col) const {
    return reinterpret_cast<const Bits*>(box.data) + (row - box.row) * box.stride + (col - box.col);
  }

  bool keeps(int64_t row) const { return keeps_row(region.segment, row) && kept_begin < kept_end; }

  std::byte* data_row(int64_t row) const {
    return region.slot +
           row_offset(format.data, region.matrix, region.segment.row + row - region.segment.source_row);
  }

  // Whether all rows of the box are kept whole and lie one behind the other, in the source and in the slot.
  bool is_one_run() const {
    return box.rows > 0 && keeps(box.row) && keeps(row_end() - 1) && box.stride == box.cols &&
           kept_begin == box.col && kept_end == col_end() && format.source_col == box.col &&
           8 * format.data.row_bytes == box.cols * code_bits(format);
  }

  Fault oracle(int64_t row, int64_t rows, int64_t col, int64_t cols) const {
    SourceBox part = box;
    part.data = reinterpret_cast<const std::byte*>(at(row, col));
    part.row = row, part.rows = rows;
    part.col = col, part.cols = cols;
    return quantize_box_reference(part, region, tensor);
  }

  struct UnitExtremes {
    Bits largest, smallest = 0;
    bool finite() const { return is_finite<S>(largest) && is_finite<S>(smallest); }
  };

  // Of one unit in one row.
  UnitExtremes extremes(int64_t row, int64_t begin, int64_t end) const {
    if (symmetric) {
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
    hn::Store(largest, d, batch.amax + unit);
    hn::Store(largest, d, batch.max + unit);
    hn::Store(smallest, d, batch.min + unit);
  }

  // Of the batch's extremes; false where the oracle is needed.
  bool make_scales(int64_t count) { return maker_.make(batch, count); }

  void store_scale(int64_t row, int64_t unit) const {
    store_unit_scale(region, row, kept_begin, batch.scale[unit], batch.zero[unit]);
  }

  // Of units of `size` columns, side by side from `col` on.
  void store_scales(int64_t row, int64_t col, int64_t size, int64_t count) const {
    const int64_t first = std::max(kept_begin, col) / size * size;
    for (int64_t unit = (first - col) / size; unit < count && col + unit * size < kept_end; ++unit) {
      const int64_t unit_col = std::max(kept_begin, col + unit * size);
      store_unit_scale(region, row, unit_col, batch.scale[unit], batch.zero[unit]);
    }
  }

  // What all integer codes of the box keep to.
  Factors code_range() const {
    const bool offset = rule.form == ScaleForm::kRange;
    return {0, 0, 0, offset ? 0.0f : rule.lowest, offset ? 15.0f : rule.highest};
  }

  // For units of so many elements.
  void prepare_coders(int64_t count, int64_t elements) {
    for (int64_t i = 0; i < count; ++i) {
      Factors factors = code_range();
      factors.factor = batch.factor[i];
      factors.offset = batch.offset[i];
      factors.reciprocal = batch.reciprocal[i];
      coders[i].factors = factors;
      encoders.prepare(coders[i], elements);
    }
  }

  // Units of `size` columns, side by side from `begin` on. `ahead`: how many bytes behind each element lies
  // what is wanted in the cache soon.
  void encode(int64_t row, int64_t rows, int64_t begin, int64_t end, int64_t size, const UnitCoder* units,
              int64_t ahead) const {
    const int64_t first = std::max(begin, kept_begin), last = std::min(end, kept_end);
    if (first >= last) return;
    const int64_t local = first - format.source_col, unit = (first - begin) / size;
    const int64_t byte = local * code_bits(format) / 8;
    const Strip strip{at(row, first),
                      box.stride,
                      reinterpret_cast<uint8_t*>(data_row(row) + byte),
                      format.data.row_bytes,
                      rows,
                      last - first,
                      size,
                      (first - begin) % size};
    encoders.strip(strip, units + unit, ahead);
  }

  // Rows of one run as one.
  void encode_run(int64_t row, int64_t rows, const UnitCoder& unit, int64_t ahead) const {
    const int64_t count = rows * box.cols;
    auto* to = reinterpret_cast<uint8_t*>(data_row(row));
    encoders.strip({at(row, box.col), count, to, count, 1, count, count, 0}, &unit, ahead);
  }

  const SourceBox& box;
  const SlotRegion& region;
  const KernelFormat& format;
  const TensorUnit& tensor;
  const ProfileRule rule;
  const bool symmetric;
  const Encoders encoders;
  const int64_t kept_begin, kept_end;  // of the box's columns
  UnitBatch batch = {};
  std::array<UnitCoder, kBatch> coders;

 private:
  const ScaleMaker<S> maker_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
