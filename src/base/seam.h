// Where a test makes something go wrong: the steps of an update, of a mirror and of files. Without a test a
// step costs the load of a null pointer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "liveweight/error.h"

namespace liveweight {

enum class Step : uint8_t {
  kOpen,         // a file
  kMap,          // a file
  kRead,         // from a file
  kChunk,        // a tensor or a piece of one, or its changes, given to an update
  kQuantize,     // one job of a thread
  kStage,        // what was borrowed
  kPrepare,      // the proofs
  kVote,         // of one rank, that it can commit
  kFlip,         // before the new version is published
  kMirrorWrite,  // to the mirror's log or its bytes
  kWrite,        // to any other file
  kSync,         // a file or a directory
  kRename,       // a file or a directory
};
inline constexpr int kSteps = static_cast<int>(Step::kRename) + 1;

// What a test makes of the steps. Called by any thread.
class Seam {
 public:
  virtual ~Seam() = default;
  // May wait, return an error, throw, or end the process.
  virtual Status reached(Step step) = 0;
  // How many of `bytes` one call of the system reads or writes: at least 1.
  virtual size_t shortened(Step step, size_t bytes) = 0;
};

// Null: nothing goes wrong. The seam must outlive its use.
void set_seam(Seam* seam);

// What the library calls.
Status reach(Step step);
size_t shortened(Step step, size_t bytes);

}  // namespace liveweight
