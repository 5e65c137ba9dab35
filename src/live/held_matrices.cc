#include "live/held_matrices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace liveweight {

Result<HeldPiece> copy_piece(int32_t source_index, const Source& source, const Piece& piece,
                             MemoryMeter& meter) {
  const auto row_bytes = static_cast<size_t>(piece.cols * element_bytes(source));
  const uint64_t bytes = row_bytes * static_cast<uint64_t>(piece.rows);
  if (!meter.charge(bytes)) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format(
            "tensor {}: it must wait for others, and would pass the staging budget of {} bytes; borrow "
            "it instead of copying, or raise the budget",
            source.name, meter.limit()),
        {source.name});
  }
  HeldPiece held{source_index, nullptr, piece, std::make_shared<std::vector<std::byte>>(bytes)};
  for (int64_t i = 0; i < piece.rows; ++i) {
    std::memcpy(held.owned->data() + i * row_bytes, element_at(source, piece, piece.row + i, piece.col),
                row_bytes);
  }
  held.piece.data = held.owned->data();
  held.piece.stride = piece.cols;
  return held;
}

Result<HeldMatrix> HeldMatrices::add(int32_t source, const Target& target, const Piece& piece,
                                     bool borrowed) {
  HeldPiece held{source, nullptr, piece, nullptr};
  if (!borrowed) {
    LW_ASSIGN(held, copy_piece(source, plan_.sources[source], piece, meter_));
  }
  held.target = &target;
  const int64_t elements = piece.rows * piece.cols;
  HeldMatrix whole;
  if (elements == target.awaited) {
    whole.push_back(std::move(held));
    return whole;
  }
  const Key key{target.parameter, target.matrix, shares_scale(target) ? -1 : source};
  Stripe& stripe = stripe_of(target);
  std::lock_guard lock(stripe.mutex);
  Entry& entry = stripe.entries[key];
  entry.pieces.push_back(std::move(held));
  entry.came += elements;
  if (entry.came < target.awaited) return HeldMatrix{};
  whole = std::move(entry.pieces);
  stripe.entries.erase(key);
  LW_TRY(join_blocks(whole));
  return whole;
}

bool HeldMatrices::empty() const {
  return std::all_of(stripes_.begin(), stripes_.end(), [](Stripe& stripe) {
    std::lock_guard lock(stripe.mutex);
    return stripe.entries.empty();
  });
}

Status HeldMatrices::join_blocks(HeldMatrix& matrix) {
  if (shares_scale(*matrix[0].target) || matrix.size() == 1) return {};
  LW_ASSIGN(HeldPiece joined, join(matrix));
  matrix.clear();
  matrix.push_back(std::move(joined));
  return {};
}

Result<HeldPiece> HeldMatrices::join(const std::vector<HeldPiece>& pieces) {
  const Source& source = plan_.sources[pieces[0].source];
  const int64_t each = element_bytes(source);
  const auto bytes = static_cast<uint64_t>(source.rows * source.cols * each);
  if (!meter_.charge(bytes)) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format(
            "tensor {}: putting its pieces together would pass the staging budget of {} bytes; send it "
            "whole, or raise the budget",
            source.name, meter_.limit()),
        {source.name});
  }
  HeldPiece joined{pieces[0].source,
                   pieces[0].target,
                   {0, source.rows, 0, source.cols, nullptr, source.cols},
                   std::make_shared<std::vector<std::byte>>(bytes)};
  for (const HeldPiece& held : pieces) {
    const Piece& piece = held.piece;
    for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
      std::memcpy(joined.owned->data() + (row * source.cols + piece.col) * each,
                  element_at(source, piece, row, piece.col), static_cast<size_t>(piece.cols * each));
    }
    if (held.owned) meter_.release(held.owned->size());
  }
  joined.piece.data = joined.owned->data();
  return joined;
}

void HeldMatrices::release(const HeldMatrix& matrix) {
  for (const HeldPiece& piece : matrix) {
    if (piece.owned) meter_.release(piece.owned->size());
  }
}

}  // namespace liveweight
