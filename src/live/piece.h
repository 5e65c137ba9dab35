// A box of a checkpoint tensor's elements, in memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "live/plan_tables.h"
#include "liveweight/update.h"

namespace liveweight {

// Rows [row, row + rows) and columns [col, col + cols) of a source viewed as a matrix. `data` points at the
// first element; `stride` elements lie from row to row.
struct Piece {
  int64_t row = 0;
  int64_t rows = 0;
  int64_t col = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  int64_t stride = 0;
};

// What one call brings of a tensor: at most three boxes, so no memory of their own.
class PieceList {
 public:
  PieceList() = default;
  PieceList(const Piece& piece) { push_back(piece); }
  void push_back(const Piece& piece) { boxes_[count_++] = piece; }
  const Piece* begin() const { return boxes_.data(); }
  const Piece* end() const { return boxes_.data() + count_; }
  size_t size() const { return count_; }

 private:
  std::array<Piece, 3> boxes_;
  size_t count_ = 0;
};

int64_t element_bytes(const Source& source);
const std::byte* element_at(const Source& source, const Piece& piece, int64_t row, int64_t col);

// "[3, 7]", as errors name an element.
std::string position_text(const Source& source, int64_t row, int64_t col);

// The part of `piece` in those rows and columns, which must lie inside it.
Piece sub_piece(const Source& source, const Piece& piece, int64_t row, int64_t rows, int64_t col,
                int64_t cols);

// The whole tensor, a region of it, or a run of its flattened elements (up to three boxes) as pieces. Errors
// say what was expected of dtype, shape, region and bytes.
Result<PieceList> whole_pieces(const Source& source, const TensorView& tensor);
Result<PieceList> region_pieces(const Source& source, const TensorView& piece, const Region& region);
Result<PieceList> flat_pieces(const Source& source, const TensorView& piece, int64_t first_element);

}  // namespace liveweight
