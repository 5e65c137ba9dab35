// The current high-precision checkpoint on the host, kept current by deltas: where a delta looks up what it
// does not carry. Its bytes are mapped, so they cost memory only where they are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"
#include "liveweight/error.h"

namespace liveweight {

// One thread at a time may use it, but `find` may run beside other finds.
class Mirror {
 public:
  // Of the checkpoint's own files, mapped privately: they stay as they are, pages that change take memory,
  // and nothing outlives the process.
  static Result<std::shared_ptr<Mirror>> in_memory(const Checkpoint& checkpoint, const TensorNames& names);

  // A mirror on disk (docs/formats-mirror.md), made where there is none; empty until the first `replace`.
  // Whatever instant its last writer was killed at, it is at that one's last version or at the one before.
  // What no crash leaves is refused: kBadCheckpoint where its log or its checksums are damaged. The parts
  // that the log speaks of are compared with their checksums: kDigestMismatch names the tensor. kUnsupported
  // where an earlier Liveweight made it.
  // Several processes may hold it; changes exclude one another by a lock.
  static Result<std::shared_ptr<Mirror>> open(const std::filesystem::path& directory);
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  bool empty() const;
  // Grows by one with every change, whoever makes it; 0 where it is empty.
  uint64_t sequence() const;
  // All of it as a checkpoint, on disk only, once `verify` found it whole; settle first. It changes with the
  // mirror.
  Result<Checkpoint> checkpoint() const;
  const std::string& version() const;  // the label of the last change
  // The label of the checkpoint of the last `replace`, which deltas came to since.
  const std::string& origin() const;
  // kStaleVersion where that was not `checkpoint`, by a sample of its bytes; `names` as for `replace`. On
  // disk only.
  Status check_origin(const Checkpoint& checkpoint, const TensorNames& names) const;
  std::vector<CheckpointTensor> tensors() const;  // in the order of their names; as `find` gives them

  // Holds that checkpoint from now on. On disk it is copied, so call it behind a commit.
  Status replace(const Checkpoint& checkpoint, const TensorNames& names, std::string version);

  bool contains(std::string_view name) const;
  // A tensor's bytes, without what `record` noted and `settle` has not put in. Null data where there is none
  // of that name.
  TensorView find(std::string_view name) const;

  // Whether `find` gives the values that the last change overwrites: nothing of it is settled yet.
  bool has_previous_values() const;
  bool unsettled() const;

  // Notes what the next version changes, in time proportional to the changes; on disk when it returns.
  // kUnknownTensor, kWrongShape or kWrongDtype where a delta is not of a tensor here; kStaleVersion where the
  // last change is not `base`, unless another process noted the same version already.
  Status record(std::vector<TensorDelta> deltas, std::string version, uint64_t base);
  // Puts all that was noted into the bytes: for the time behind a commit.
  Status settle();
  // Notes the values before the last change of this process as a change of its own, of the label before it;
  // that one can be taken back, too. `sequence`: the state that goes, kStaleVersion where it is not the last;
  // once it has gone that way, nothing is done again. kFailedState after `replace`.
  Status revert(uint64_t sequence);
  // Whether the change after the state `sequence` took it back, so that it gave what was before that state.
  bool has_reverted(uint64_t sequence) const;

  // Sees what other processes noted since, and keeps them from changing the bytes while what it returns
  // lives. No other call but `find` and those that only tell may come in that time.
  Result<std::shared_ptr<void>> hold();
  // kIo where a page was read that its file does not have any more: it gave zeros.
  Status check_whole() const;
  // Compares every part with its checksum, on all threads; settle first. kDigestMismatch names the tensor.
  Status verify() const;

 private:
  struct State;
  explicit Mirror(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace liveweight
