// Quantized rows that wait for commit, as what they change of their owner's bytes: of a stretch where few
// elements differ those alone, of others all of it. A step of training changes few codes, so that such rows
// take a small part of their size; never more than it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arena.h"
#include "bands.h"

namespace liveweight::python {

class StagedRows {
 public:
  // Quantizes rows of `matrix`, on all threads, and keeps what is not in the owner's buffers already. Those
  // must not change until `write`. Again for the same rows it takes the place of what is there, in the same
  // memory.
  Status stage(const std::string& name, const Matrix& matrix, const Rows& rows, float amax, Arena& arena);

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
  static constexpr int kParts = 3;

  static Status stage_band(const std::string& name, const Matrix& matrix, const Rows& band,
                           const TensorUnit& unit, Stretch* stretches, Arena& arena);
  static Status keep(Stretch& stretch, std::byte* fresh, bool nibbles, Arena& arena);
  static Status hold(Stretch& stretch, uint64_t bytes, Arena& arena);
  static void let_go(Stretch& stretch, Arena& arena);
  static void write(const Stretch& stretch);

  std::vector<Stretch> stretches_;  // kParts for each band
};

}  // namespace liveweight::python
