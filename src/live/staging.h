// Carries an update's pieces into the next slots: at once where they are only lent for the call, by all
// threads together where they are borrowed. Knows nothing of versions. Thread-safe but for `run`.
#pragma once

#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "live/held_matrices.h"
#include "live/partial_units.h"
#include "live/tensor_maxima.h"
#include "quantize/quantize.h"

namespace liveweight {

class Staging {
 public:
  using SlotOf = std::function<std::byte*(int32_t parameter)>;
  struct Queued {
    int32_t source = -1;
    Piece piece;
  };

  Staging(const Plan::Implementation& plan, SlotOf slot_of, TensorMaxima& maxima, uint64_t budget_bytes);

  // Elements that may be freed on return: written now, or buffered until their unit is whole.
  Status put(int32_t source, const Piece& piece);

  // Elements that stay: queued for `run`. Aliases of either kind are kept for `settle_aliases`.
  void borrow(int32_t source, const Piece& piece);
  void borrow(std::vector<Queued> pieces);
  Status keep_alias(int32_t source, const Piece& piece, bool borrowed);

  // Where an alias and its tensor both came they must be equal. Where its tensor did not, it stands in for it
  // once all that will come is there (`last`). `came(source)` tells whether any of a source came.
  Status settle_aliases(const std::function<bool(int32_t)>& came, bool last);

  // Checks all that is queued without writing; then `run` can only fail by a fault of the machine.
  Status check() const;

  // Quantizes all that is queued, on all threads, split by bytes.
  Status run();

  // Whether nothing waits for elements that are still to come.
  bool done() const { return held_matrices_.empty(); }

  uint64_t peak_bytes() const { return meter_.peak(); }

 private:
  // What a thread takes at a time: about half a megabyte of neighbouring entries, or those rows of one entry
  // that is larger. Sharing out very small tensors one by one would cost more than quantizing them.
  struct Share {
    size_t begin = 0, end = 0;
    int64_t row = 0, rows = 0;  // where the entry is alone
  };

  // Part of a held piece: whole units, about kJobBytes of them.
  struct HeldJob {
    const Source* source;
    const Target* target;
    Piece piece;
    size_t matrix;
    TensorUnit unit;    // what its codes are made with
    float maximum = 0;  // of the piece
  };

  std::vector<Share> shares_of(const std::vector<Queued>& queued) const;
  // Calls body(source, target, piece) -> Status for each target of each entry, on all threads.
  template <typename Body>
  Status for_each_target(const std::vector<Queued>& queued, const Body& body) const;
  Status put_target(int32_t source, int32_t target, const Piece& piece);
  Status hold(std::vector<Queued>& queued, std::vector<HeldMatrix>& large);
  Status run_large(std::span<const HeldMatrix> matrices);
  Status run_at_once(const HeldMatrix& matrix);
  int64_t bytes_of(const HeldMatrix& matrix) const;
  bool is_small(const HeldMatrix& matrix) const;
  TensorUnit unit_of(const HeldPiece& held, float amax) const;
  std::vector<HeldJob> jobs_of(std::span<const HeldMatrix> matrices) const;
  Status run_cached(std::span<const HeldMatrix> matrices);
  Status apply(const HeldJob& job) const;
  Status compare_alias(const HeldPiece& alias) const;
  std::byte* slot_of(const Target& target) const { return slot_of_(target.parameter); }

  const Plan::Implementation& plan_;
  SlotOf slot_of_;
  TensorMaxima& maxima_;
  MemoryMeter meter_;
  PartialUnits partial_units_;
  HeldMatrices held_matrices_;
  std::mutex mutex_;  // of the queues below
  std::vector<Queued> queued_;
  std::vector<HeldPiece> aliases_;    // not settled
  std::vector<HeldPiece> stand_ins_;  // whose elements are queued
};

}  // namespace liveweight
