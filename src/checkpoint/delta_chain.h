// What `apply_deltas` puts together: a checkpoint and the deltas on it.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "liveweight/delta.h"

namespace liveweight {

// A tensor with the deltas put into it.
struct PatchedTensor {
  bool changed = false;
  std::vector<std::byte> bytes;  // where it changed
  uint64_t elements = 0;         // that the deltas name, but for those of a tied tensor that is there too
};

// A delta, with its tensors' own names by the model's.
struct NamedDelta {
  DeltaDirectory directory;
  std::map<std::string, std::string> names;
};

// The newest full checkpoint, of the same tensors as the first, and the deltas after it, each checked to
// continue the one before.
struct DeltaChain {
  DeltaChain(TiedTensors tied_tensors, TensorNames names)
      : tied(std::move(tied_tensors)), model_name(std::move(names)) {}

  std::optional<Checkpoint> first;  // which the chain may have left behind
  std::filesystem::path base;
  std::optional<Checkpoint> checkpoint;
  std::vector<NamedDelta> deltas;
  std::string version;

  const TiedTensors tied;
  const TensorNames model_name;

  Status read(const std::filesystem::path& begin, std::span<const std::filesystem::path> rest);
  Result<PatchedTensor> patched(const std::string& name, const TensorView& view) const;

 private:
  Status restart(const std::filesystem::path& path);
  Status append(const std::filesystem::path& path);
  Result<PatchedTensor> patched_as(const std::string& name, const TensorView& view) const;
  const std::string* name_in(const NamedDelta& delta, const std::string& name) const;
  const CheckpointTensor* own(const std::string& name) const;
  const CheckpointTensor* find(const std::string& name) const;
  Status check_names() const;
  Status check_ties() const;
  Status check_alike(const std::string& name, const std::string& other) const;

  std::map<std::string, const CheckpointTensor*> tensors_;  // the checkpoint's, by the model's names
};

}  // namespace liveweight
