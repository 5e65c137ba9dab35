// Walks a box whose units are square blocks, a strip of them at a time. While a strip is encoded, the largest
// magnitudes of the next one are found, a few rows of each in turn, so that memory is read and written at
// once. Included once for each instruction set, as Highway wants it.
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
  explicit BlockWalk(BoxUnits<S>& units)
      : units_(units),
        box_(units.box),
        edge_(units.format.scheme.size),
        one_row_(box_.cols <= edge_ && units.is_one_run()) {}

  Fault quantize() {
    Blocks now = strip_at(box_.row, box_.col);
    search(now);
    while (now.row < units_.row_end()) {
      const Blocks next = after(now);
      if (make_scales(now)) {
        encode(now, next);
      } else {
        if (Fault fault = units_.oracle(now.row, now.rows(), now.col, now.end - now.col)) return fault;
        search(next);
      }
      now = next;
    }
    return std::nullopt;
  }

 private:
  // A strip: blocks side by side.
  struct Blocks {
    int64_t row, row_end, col, end, count;
    int64_t rows() const { return row_end - row; }
  };

  // 1 KB of each row: with less the processor does not foresee what is read next, and of more the
  // second-level cache may have no room for two, where rows are a power of two apart.
  static constexpr int64_t kStripBlocks = std::min<int64_t>(8 / sizeof(typename S::Bits), kLanes);
  static constexpr int64_t kRows = 8;  // in turn

  Blocks strip_at(int64_t row, int64_t col) const {
    const int64_t row_end = std::min((row / edge_ + 1) * edge_, units_.row_end());
    const int64_t end = std::min(col + kStripBlocks * edge_, units_.col_end());
    return {row, row_end, col, end, (end - col + edge_ - 1) / edge_};
  }

  // To its right, or of the next row of blocks; after the last one there are no rows.
  Blocks after(const Blocks& strip) const {
    return strip.end < units_.col_end() ? strip_at(strip.row, strip.end) : strip_at(strip.row_end, box_.col);
  }

  void search(const Blocks& strip) {
    if (one_row_) return largest_[0].add(units_.at(strip.row, strip.col), strip.rows() * box_.cols);
    for (int64_t i = 0; i < edge_; i += kRows) search_rows(strip, i);
  }

  // Adds kRows of its rows, from that one on, to the largest magnitudes of the strip's blocks.
  void search_rows(const Blocks& strip, int64_t first) {
    const int64_t row = strip.row + first, row_end = std::min(strip.row_end, row + kRows);
    for (int64_t i = 0, col = strip.col; i < strip.count; ++i, col += edge_) {
      LargestMagnitude<S> largest = largest_[i];
      const int64_t cols = std::min(edge_, strip.end - col);
      for (int64_t k = row; k < row_end; ++k) largest.add(units_.at(k, col), cols);
      largest_[i] = largest;
    }
  }

  // Of the strip that was searched; false where the oracle is needed.
  bool make_scales(const Blocks& strip) {
    UnitLanes<S> all;
    bool regular = true;
    for (int64_t i = 0; i < strip.count; ++i) {
      all.set(i, largest_[i].get());
      regular &= is_finite<S>(largest_[i].get());
      largest_[i] = LargestMagnitude<S>();
    }
    if (!regular) return false;
    units_.set_extremes(0, all.widened(), hn::Zero(FloatTag()));
    if (units_.rule.fill_edges) fill_edges(strip);
    if (!units_.make_scales(strip.count)) return false;
    units_.prepare_coders(strip.count, edge_ * strip.rows());
    return true;
  }

  // And searches the next one.
  void encode(const Blocks& strip, const Blocks& next) {
    const Segment& segment = units_.region.segment;
    const int64_t first = std::max(strip.row, segment.source_row);
    const int64_t last = std::min(strip.row_end, segment.source_row + segment.rows);
    if (first < last && units_.keeps(first)) units_.store_scales(first, strip.col, edge_, strip.count);
    if (one_row_) {
      units_.encode_run(strip.row, strip.rows(), units_.coders.front(), distance(strip, 0, next, 0));
      return search(next);
    }
    const Blocks third = after(next);
    for (int64_t i = 0; i < edge_; i += kRows) {
      const int64_t row = std::max(first, strip.row + i), row_end = std::min(last, strip.row + i + kRows);
      if (row < row_end) {
        const bool begins = i + kRows >= edge_;
        const int64_t ahead = begins ? distance(strip, i, third, 0) : distance(strip, i, next, i + kRows);
        units_.encode(row, row_end - row, strip.col, strip.end, edge_, units_.coders.data(), ahead);
      }
      search_rows(next, i);
    }
  }

  // In bytes, from one row of a strip to one of another; none to a strip that there is not.
  int64_t distance(const Blocks& from, int64_t row, const Blocks& to, int64_t to_row) const {
    if (to.rows() <= 0) return 0;
    const int64_t elements = (to.row + to_row - from.row - row) * box_.stride + to.col - from.col;
    return elements * static_cast<int64_t>(sizeof(typename S::Bits));
  }

  // Blocks cut by the tensor's edge count its last element.
  void fill_edges(const Blocks& strip) {
    for (int64_t i = 0; i < strip.count; ++i) {
      const bool whole = strip.rows() == edge_ && strip.col + (i + 1) * edge_ <= strip.end;
      float& amax = units_.batch.amax[i];
      if (!whole) amax = std::max(amax, std::fabs(units_.tensor.last_element));
    }
  }

  BoxUnits<S>& units_;
  const SourceBox& box_;
  const int64_t edge_;
  const bool one_row_;  // the rows of a block, one behind the other, where no other block is beside it
  LargestMagnitude<S> largest_[kStripBlocks];  // of what is searched
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
