// The current high-precision checkpoint on the host, kept current by deltas: where a delta looks up what it
// does not carry. Its bytes are mapped, so they cost memory only where they are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"
#include "liveweight/error.h"

namespace liveweight {

// From a checkpoint's names to the model's.
using TensorNames = std::function<Result<std::string>(std::string_view)>;

// One thread at a time may change it; `find` may run beside other finds.
class Mirror {
 public:
  // Of the checkpoint's own files, mapped privately: they stay as they are, pages that change take memory,
  // and nothing outlives the process.
  static Result<std::shared_ptr<Mirror>> in_memory(const Checkpoint& checkpoint, const TensorNames& names);
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // Holds that checkpoint from now on.
  Status replace(const Checkpoint& checkpoint, const TensorNames& names);

  // A tensor's bytes, without what `record` noted and `settle` has not put in. Null data where there is none
  // of that name.
  TensorView find(const std::string& name) const;

  // Notes what the next version changes, in time proportional to the changes. kUnknownTensor, kWrongShape or
  // kWrongDtype where a delta is not of a tensor here.
  Status record(std::vector<TensorDelta> deltas);
  // Puts all that was noted into the bytes: for the time behind a commit.
  Status settle();
  // Takes back the last `record` (or `replace` cannot be taken back: kFailedState). What was settled since is
  // settled back.
  Status revert();

 private:
  struct State;
  explicit Mirror(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace liveweight
