// Matrices whose every element must be known before the first can be quantized: one scale for all of it, or
// edge blocks that count a tensor's last element. Their pieces are held (borrowed, or copied within the
// budget) until the last has come. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "live/meter.h"
#include "live/piece.h"

namespace liveweight {

struct HeldPiece {
  int32_t source = 0;
  const Target* target = nullptr;
  Piece piece;
  std::shared_ptr<std::vector<std::byte>> owned;  // null where the piece is borrowed
};

// All pieces of one.
using HeldMatrix = std::vector<HeldPiece>;

class HeldMatrices {
 public:
  HeldMatrices(const Plan::Implementation& plan, MemoryMeter& meter) : plan_(plan), meter_(meter) {}

  // Keeps the piece. Gives the matrix, or what one tensor holds of it, back when that was its last one; empty
  // otherwise.
  Result<HeldMatrix> add(int32_t source, const Target& target, const Piece& piece, bool borrowed);

  // Whether nothing waits any more.
  bool empty() const;

  // All pieces of one source as one, which is copied and counted; those that were copied are let go.
  Result<HeldPiece> join(const std::vector<HeldPiece>& pieces);

  // Lets go of the budget that a matrix from `add` holds.
  void release(const HeldMatrix& matrix);

 private:
  struct Entry {
    HeldMatrix pieces;
    int64_t came = 0;  // elements
  };
  // What a piece waits for: all members of a matrix (the last is -1) or one tensor.
  using Key = std::tuple<int32_t, int32_t, int32_t>;  // parameter, matrix, source
  // Of matrices that are no neighbours: threads meet seldom.
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::map<Key, Entry> entries;
  };
  Stripe& stripe_of(const Target& target) const {
    return stripes_[static_cast<size_t>(target.parameter + target.matrix) % stripes_.size()];
  }
  // Pieces of a source that is quantized in blocks become one: they need not end where blocks do.
  Status join_blocks(HeldMatrix& matrix);

  const Plan::Implementation& plan_;
  MemoryMeter& meter_;
  mutable std::array<Stripe, 16> stripes_;
};

// A copy of the piece's elements, counted against the budget.
Result<HeldPiece> copy_piece(int32_t source_index, const Source& source, const Piece& piece,
                             MemoryMeter& meter);

}  // namespace liveweight
