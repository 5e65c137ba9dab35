// Walks a box row by row: rows as units, rows of a tensor-wide unit, rows that are only copied. Included once
// for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_ROWS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_ROWS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_ROWS_INL_H_
#endif

#include <algorithm>

#include "quantize/box_units-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S>
class RowWalk {
 public:
  using Bits = typename S::Bits;

  explicit RowWalk(BoxUnits<S>& units) : units_(units), box_(units.box) {}

  Fault copy() const {
    const int64_t run = units_.is_one_run() ? box_.rows : 1;
    for (int64_t row = box_.row; row < units_.row_end(); row += run) {
      LargestMagnitude<S> largest;
      if (units_.keeps(row)) {
        const int64_t begin = units_.kept_begin, end = units_.kept_end;
        auto* to = reinterpret_cast<Bits*>(units_.data_row(row)) + (begin - units_.format.source_col);
        largest.add(units_.at(row, box_.col), begin - box_.col);
        largest.add_copied(units_.at(row, begin), run * (end - begin), to);
        largest.add(units_.at(row, end), units_.col_end() - end);
      } else {
        largest.add(units_.at(row, box_.col), box_.cols);
      }
      if (!is_finite<S>(largest.get())) return units_.oracle(row, run, box_.col, box_.cols);
    }
    return std::nullopt;
  }

  // Rows as units, a few at a time, so that the first-level cache still holds them when they are encoded.
  Fault quantize() {
    const int64_t step = std::min<int64_t>(rows_of(16 << 10), kLanes);
    for (int64_t row = box_.row; row < units_.row_end(); row += step) {
      if (Fault fault = batch(row, std::min(step, units_.row_end() - row), rows_ahead(step))) return fault;
    }
    return std::nullopt;
  }

  // Rows of a tensor-wide unit.
  Fault quantize_by_tensor() {
    units_.batch.amax[0] = units_.tensor.amax;
    if (!units_.make_scales(1)) return units_.oracle(box_.row, box_.rows, box_.col, box_.cols);
    units_.prepare_coders(1, box_.rows * box_.cols);
    const bool one_run = units_.is_one_run();
    const int64_t step = one_run ? rows_of(8 << 10) : 1;
    for (int64_t row = box_.row; row < units_.row_end(); row += step) {
      const int64_t rows = std::min(step, units_.row_end() - row);
      const bool finite = units_.extremes(row, box_.col, box_.col + rows * box_.cols).finite();
      if (!finite) return units_.oracle(row, rows, box_.col, box_.cols);
      if (!one_run) {
        encode(row, 0, rows_ahead(2));
        continue;
      }
      units_.store_scale(row, 0);
      units_.encode_run(row, rows, units_.coders.front(), rows_ahead(rows));
    }
    return std::nullopt;
  }

 private:
  // So many, or the one that has more.
  int64_t rows_of(int64_t bytes) const {
    const int64_t row_bytes = std::max<int64_t>(1, box_.cols * static_cast<int64_t>(sizeof(Bits)));
    return std::max<int64_t>(1, bytes / row_bytes);
  }

  int64_t rows_ahead(int64_t rows) const { return rows * box_.stride * static_cast<int64_t>(sizeof(Bits)); }

  Fault batch(int64_t row, int64_t count, int64_t ahead) {
    UnitLanes<S> largest, smallest;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      const auto unit = units_.extremes(row + i, box_.col, units_.col_end());
      regular &= unit.finite();
      largest.set(i, unit.largest);
      smallest.set(i, unit.smallest);
    }
    if (!regular) return units_.oracle(row, count, box_.col, box_.cols);
    units_.set_extremes(0, largest.widened(), smallest.widened());
    if (!units_.make_scales(count)) return units_.oracle(row, count, box_.col, box_.cols);
    units_.prepare_coders(count, box_.cols);
    for (int64_t i = 0; i < count; ++i) encode(row + i, i, ahead);
    return std::nullopt;
  }

  void encode(int64_t row, int64_t unit, int64_t ahead) {
    if (!units_.keeps(row)) return;
    units_.store_scale(row, unit);
    units_.encode(row, 1, box_.col, units_.col_end(), box_.cols, &units_.coders[unit], ahead);
  }

  BoxUnits<S>& units_;
  const SourceBox& box_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
