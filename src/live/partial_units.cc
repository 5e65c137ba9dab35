#include "live/partial_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace liveweight {
namespace {

struct Range {
  int64_t begin, end;
};

// The units of `tile` that lie wholly in [begin, end) of [0, size).
Range inside(int64_t begin, int64_t end, int64_t tile, int64_t size) {
  const int64_t first = (begin + tile - 1) / tile * tile;
  const int64_t last = end == size ? size : end / tile * tile;
  return {first, std::max(first, last)};
}

}  // namespace

size_t PartialUnits::KeyHash::operator()(const Key& key) const {
  uint64_t hash = static_cast<uint64_t>(key.source) << 32 | static_cast<uint32_t>(key.target);
  for (const int64_t value : {key.row, key.col}) {
    hash = (hash ^ static_cast<uint64_t>(value)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return hash;
}

Piece PartialUnits::whole_units(const Source& source, const Target& target, const Piece& piece) {
  const Range rows = inside(piece.row, piece.row + piece.rows, target.tile_rows, source.rows);
  const Range cols = inside(piece.col, piece.col + piece.cols, target.tile_cols, source.cols);
  if (rows.begin >= rows.end || cols.begin >= cols.end) return Piece{};
  return sub_piece(source, piece, rows.begin, rows.end - rows.begin, cols.begin, cols.end - cols.begin);
}

Status PartialUnits::add(int32_t source_index, const Source& source, int32_t target_index,
                         const Target& target, const Piece& piece,
                         const std::function<Status(const Piece&)>& whole) {
  const Piece inner = whole_units(source, target, piece);
  const int64_t end_row = piece.row + piece.rows, end_col = piece.col + piece.cols;
  for (int64_t row = piece.row / target.tile_rows * target.tile_rows; row < end_row;
       row += target.tile_rows) {
    const bool row_inside = row >= inner.row && row < inner.row + inner.rows;
    for (int64_t col = piece.col / target.tile_cols * target.tile_cols; col < end_col;
         col += target.tile_cols) {
      if (row_inside && col >= inner.col && col < inner.col + inner.cols) {
        col = (inner.col + inner.cols - 1) / target.tile_cols * target.tile_cols;
        continue;
      }
      const int64_t unit_rows = std::min(target.tile_rows, source.rows - row);
      const int64_t unit_cols = std::min(target.tile_cols, source.cols - col);
      const Piece unit{row, unit_rows, col, unit_cols, nullptr, unit_cols};
      const int64_t from_row = std::max(row, piece.row), from_col = std::max(col, piece.col);
      const Piece part = sub_piece(source, piece, from_row, std::min(row + unit_rows, end_row) - from_row,
                                   from_col, std::min(col + unit_cols, end_col) - from_col);
      LW_TRY(add_to_unit({source_index, target_index, row, col}, source, unit, part, whole));
    }
  }
  return {};
}

Status PartialUnits::add_to_unit(const Key& key, const Source& source, const Piece& unit, const Piece& part,
                                 const std::function<Status(const Piece&)>& whole) {
  LW_ASSIGN(const std::vector<std::byte> bytes, fill(key, source, unit, part));
  if (bytes.empty()) return {};
  Piece complete = unit;
  complete.data = bytes.data();
  Status status = whole(complete);
  meter_.release(bytes.size());
  return status;
}

Result<std::vector<std::byte>> PartialUnits::fill(const Key& key, const Source& source, const Piece& unit,
                                                  const Piece& part) {
  const int64_t each = element_bytes(source);
  const auto bytes = static_cast<uint64_t>(unit.rows * unit.cols * each);
  std::lock_guard lock(mutex_);
  auto found = units_.find(key);
  if (found == units_.end()) {
    if (!meter_.charge(bytes)) {
      return fail(
          ErrorCode::kResourceExhausted,
          fmt::format(
              "tensor {}: pieces of units that are not whole yet hold more than the staging budget of {} "
              "bytes; send larger pieces, finish tensors one by one, or raise the budget",
              source.name, meter_.limit()),
          {source.name});
    }
    found = units_.emplace(key, Unit{std::vector<std::byte>(bytes), unit.rows * unit.cols}).first;
  }
  for (int64_t row = part.row; row < part.row + part.rows; ++row) {
    std::byte* to = found->second.bytes.data() + ((row - unit.row) * unit.cols + part.col - unit.col) * each;
    std::memcpy(to, element_at(source, part, row, part.col), static_cast<size_t>(part.cols * each));
  }
  found->second.missing -= part.rows * part.cols;
  if (found->second.missing > 0) return std::vector<std::byte>{};
  std::vector<std::byte> whole = std::move(found->second.bytes);
  units_.erase(found);
  return whole;
}

}  // namespace liveweight
