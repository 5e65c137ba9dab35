// What `apply_deltas` puts together: a checkpoint and the deltas on it.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "liveweight/delta.h"

namespace liveweight {

// A tensor with the deltas put into it.
struct PatchedTensor {
  bool changed = false;
  std::vector<std::byte> bytes;  // where it changed
  uint64_t elements = 0;         // that the deltas name, but for those of a tied tensor that is there too
};

// The newest full checkpoint, of the same tensors as the first, and the deltas after it, each checked to
// continue the one before.
struct DeltaChain {
  std::optional<Checkpoint> first;  // which the chain may have left behind
  std::filesystem::path base;
  std::optional<Checkpoint> checkpoint;
  std::vector<DeltaDirectory> deltas;
  std::string version;

  TiedTensors tied;

  Status read(const std::filesystem::path& begin, std::span<const std::filesystem::path> rest);
  Result<PatchedTensor> patched(const std::string& name, const TensorView& view) const;

 private:
  Status restart(const std::filesystem::path& path);
  Status append(const std::filesystem::path& path);
  const std::string* name_in(const DeltaDirectory& delta, const std::string& name) const;
  const CheckpointTensor* find(const std::string& name) const;
  Status check_names() const;
  Status check_ties() const;
  Status check_alike(const std::string& name, const std::string& other) const;
};

}  // namespace liveweight
