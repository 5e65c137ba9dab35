// Quantized rows that wait for commit, as what they change of their owner's bytes: of a stretch where few
// elements differ those alone, of others all of it. A step of training changes few codes, so that such rows
// take a small part of their size; never more than it. The owner's buffers must not change until `write`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arena.h"
#include "bands.h"

namespace liveweight::python {

class StagedRows {
 public:
  // Quantizes rows of `matrix`, on all threads, and keeps what is not in the owner's buffers already. Again
  // for the same rows it takes the place of what is there, in the same memory.
  Status stage(const std::string& name, const Matrix& matrix, const Rows& rows, float amax, Arena& arena);

  // Of rows that can be read again, band after band, which any thread may take: those that change little are
  // kept.
  void expect(int64_t bands) { stretches_.resize(static_cast<size_t>(bands * kParts)); }
  // Whether it is kept.
  Result<bool> stage_little(const std::string& name, const Matrix& matrix, const Rows& rows, int64_t band,
                            Arena& arena);
  bool keeps(int64_t band) const { return stretches_[static_cast<size_t>(band * kParts)].to != nullptr; }
  void write(int64_t band) const;

  // Into the owner's buffers, on all threads.
  void write() const;

  // Forgets them.
  void drop(Arena& arena);

 private:
  enum class Form { kElements, kBytes, kNibbles };

  // A stretch of codes, scales or zero points.
  struct Stretch {
    std::byte* to = nullptr;
    uint64_t bytes = 0;  // of the owner's
    int64_t cell = 1;    // bytes an element
    Form form = Form::kElements;
    uint64_t changed = 0;       // elements, in Form::kElements
    std::byte* held = nullptr;  // in the arena
    uint64_t held_bytes = 0;
  };
  // The elements of one that differ.
  struct Changes {
    std::vector<uint32_t> positions;
    std::vector<std::byte> values;
    uint64_t count = 0;
  };
  static constexpr int kParts = 3;

  static Result<bool> stage_band(const std::string& name, const Matrix& matrix, const Rows& band,
                                 const TensorUnit& unit, bool only_little, Stretch* stretches, Arena& arena);
  static Result<bool> keep(Stretch& stretch, const std::byte* fresh, bool nibbles, bool only_little,
                           Arena& arena);
  static bool find_changes(const std::byte* old, const std::byte* fresh, uint64_t count, int64_t cell_bytes,
                           uint64_t limit, Changes& changes);
  static Status hold_elements(Stretch& stretch, const Changes& changes, Arena& arena);
  static Status hold(Stretch& stretch, uint64_t bytes, Arena& arena);
  static void let_go(Stretch& stretch, Arena& arena);
  static void write(const Stretch& stretch);

  std::vector<Stretch> stretches_;  // kParts for each band
};

}  // namespace liveweight::python
