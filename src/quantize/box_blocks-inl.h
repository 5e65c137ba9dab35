// Walks a box whose units are square blocks. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_BLOCKS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_BLOCKS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "quantize/box_units-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S>
class BlockWalk {
 public:
  explicit BlockWalk(BoxUnits<S>& units) : units_(units), box_(units.box), edge_(units.format.scheme.size) {}

  Fault quantize() {
    for (int64_t row = box_.row; row < units_.row_end();) {
      const int64_t end = std::min((row / edge_ + 1) * edge_, units_.row_end());
      for (int64_t col = box_.col; col < units_.col_end(); col += kStripBlocks * edge_) {
        if (Fault fault = strip(row, end, col, std::min(col + kStripBlocks * edge_, units_.col_end())))
          return fault;
      }
      row = end;
    }
    return std::nullopt;
  }

 private:
  static constexpr int64_t kStripBlocks = 2;  // side by side: what of a row of blocks is worked on at a time

  // While a strip is encoded, for the second time in this cache, the one after it is fetched row by row: to
  // its right, or of the next row of blocks.
  int64_t strip_after(int64_t rows, int64_t col, int64_t end) const {
    const int64_t elements = end == units_.col_end() ? rows * box_.stride - (col - box_.col) : end - col;
    return elements * static_cast<int64_t>(sizeof(typename S::Bits));
  }

  // Up to kStripBlocks blocks, side by side.
  Fault strip(int64_t row, int64_t row_end, int64_t col, int64_t end) {
    const int64_t count = (end - col + edge_ - 1) / edge_;
    UnitLanes<S> all;
    bool regular = true;
    for (int64_t i = 0; i < count; ++i) {
      LargestMagnitude<S> largest;
      for (int64_t r = row; r < row_end; ++r) {
        largest.add(units_.at(r, col + i * edge_), std::min(edge_, end - (col + i * edge_)));
      }
      all.set(i, largest.get());
      regular &= is_finite<S>(largest.get());
    }
    if (!regular) return units_.oracle(row, row_end - row, col, end - col);
    units_.set_extremes(0, all.widened(), hn::Zero(FloatTag()));
    if (units_.rule.fill_edges) fill_edges(row_end - row, col, end, count);
    if (!units_.make_scales(count)) return units_.oracle(row, row_end - row, col, end - col);
    units_.prepare_coders(count, edge_ * (row_end - row));
    const Segment& segment = units_.region.segment;
    const int64_t first = std::max(row, segment.source_row);
    const int64_t last = std::min(row_end, segment.source_row + segment.rows);
    if (first >= last) return std::nullopt;
    if (units_.keeps(first)) units_.store_scales(first, col, edge_, count);
    units_.encode(first, last - first, col, end, edge_, units_.coders.data(),
                  strip_after(row_end - row, col, end));
    return std::nullopt;
  }

  // Blocks cut by the tensor's edge count its last element.
  void fill_edges(int64_t rows, int64_t col, int64_t end, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const bool whole = rows == edge_ && col + (i + 1) * edge_ <= end;
      float& amax = units_.batch.amax[i];
      if (!whole) amax = std::max(amax, std::fabs(units_.tensor.last_element));
    }
  }

  BoxUnits<S>& units_;
  const SourceBox& box_;
  const int64_t edge_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
