// What `apply_deltas` puts together: a checkpoint and the deltas on it.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "liveweight/delta.h"

namespace liveweight {

// The newest full checkpoint, of the same tensors as the first, and the deltas after it, each checked to
// continue the one before.
struct DeltaChain {
  std::optional<Checkpoint> first;  // which the chain may have left behind
  std::filesystem::path base;
  std::optional<Checkpoint> checkpoint;
  std::vector<DeltaDirectory> deltas;
  std::string version;

  Status read(const std::filesystem::path& begin, std::span<const std::filesystem::path> rest);

 private:
  Status restart(const std::filesystem::path& path);
  Status append(const std::filesystem::path& path);
  Status check_names() const;
};

}  // namespace liveweight
