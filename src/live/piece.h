// A box of a checkpoint tensor's elements, in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

int64_t element_bytes(const Source& source);
const std::byte* element_at(const Source& source, const Piece& piece, int64_t row, int64_t col);

// "[3, 7]", as errors name an element.
std::string position_text(const Source& source, int64_t row, int64_t col);

// The part of `piece` in those rows and columns, which must lie inside it.
Piece sub_piece(const Source& source, const Piece& piece, int64_t row, int64_t rows, int64_t col,
                int64_t cols);

// The whole tensor, a region of it, or a run of its flattened elements (up to three boxes) as pieces. Errors
// say what was expected of dtype, shape, region and bytes.
Result<std::vector<Piece>> whole_pieces(const Source& source, const TensorView& tensor);
Result<std::vector<Piece>> region_pieces(const Source& source, const TensorView& piece, const Region& region);
Result<std::vector<Piece>> flat_pieces(const Source& source, const TensorView& piece, int64_t first_element);

}  // namespace liveweight
