// An update of tensors that somebody else owns, such as a torch module's: new high-precision rows in,
// quantized bytes into the owner's buffers at commit, all or nothing. Not one byte of theirs is written
// before.
//
// Rows that stay where they are until commit (a mapped file, a caller's dictionary) are *borrowed*: they are
// looked through while others come, and what they change is kept where it is little. Where it is much they
// are quantized straight into the owner's buffers at commit. Others are quantized as they come, and what they
// change is staged. What is compared with the owner's buffers must find them as they were before the update.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "bands.h"
#include "lookahead.h"
#include "staged_rows.h"

namespace liveweight::python {

class BuffersUpdate {
 public:
  // Gives the target's index. `matrix` points at the owner's buffers, which stay until the update ends.
  int64_t add_target(std::string name, const Matrix& matrix);

  // Takes rows [row, row + rows) of a target. Rows that came already are replaced where they come again as
  // the same piece. False, and nothing was taken, where some came as part of another, where the scheme's
  // units need more than these rows, or where a tensor of one scale was quantized: they must come as a whole.
  Result<bool> put(int64_t target, const Rows& rows, bool borrowed);

  // Borrowed rows of a target are about to change: what came is kept as it is now.
  Status take_borrowed(int64_t target);

  bool is_whole(int64_t target) const;

  // Forgets what came for a target.
  void clear(int64_t target);

  // Somebody wrote into the target's buffers since rows of it were borrowed, though they are as they were
  // now.
  void distrust(int64_t target);

  // Proves that every target that got anything is whole and finite, and, unless `partial`, that every one
  // did.
  Status prepare(bool partial);

  // Writes. After `prepare` nothing but a fault of the machine, or rows that changed although borrowed, can
  // go wrong.
  Status commit();

  // Of what is to change, in staging memory.
  uint64_t staged_bytes() const;
  bool touched(int64_t target) const { return !targets_[static_cast<size_t>(target)].pieces.empty(); }

 private:
  struct Piece {
    int64_t rows = 0;
    const std::byte* data = nullptr;  // null where it is staged
    std::vector<std::byte> held;      // of a tensor with one scale, until it is whole
    StagedRows staged;
    std::optional<size_t> ahead;  // in `lookahead_`, of borrowed rows
  };
  struct Target {
    std::string name;
    Matrix matrix;
    std::map<int64_t, Piece> pieces;  // by first row
    float amax = 0;
    bool distrusted = false;  // what its borrowed rows were found to change
  };
  static bool overlaps(const Target& target, const Rows& rows);
  void add_piece(Target& target, const Rows& rows, Piece piece);
  void forget(Target& target);
  void forget(Piece& piece);
  void stop_looking(Piece& piece);
  Status stage(Target& target, int64_t row, Piece& piece);
  Status stage_all(Target& target);
  Status stage_whole(Target& target);
  static void hold(const Matrix& matrix, Piece& piece);
  Status check_borrowed(Target& target) const;
  Status write_borrowed() const;
  static bool is_staged(const Target& target);
  static bool holds_any(const Target& target);
  static bool whole(const Target& target);

  mutable std::mutex mutex_;
  std::deque<Target> targets_;  // which stay where they are
  Arena staging_;
  Lookahead lookahead_{staging_};
};

}  // namespace liveweight::python
