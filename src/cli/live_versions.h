// The ranks of a live model that take one version after another, from checkpoints and deltas: what reload and
// follow share.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/ranks.h"
#include "liveweight/delta.h"
#include "liveweight/mirror.h"

namespace liveweight::cli {

class LiveVersions {
 public:
  // `mirror`: a directory, one for all ranks, or empty.
  LiveVersions(const ModelDirectory& directory, LoadOptions options, const TensorParallelOptions& group,
               std::string mirror)
      : directory_(directory), options_(std::move(options)), group_(group), mirror_path_(std::move(mirror)) {}

  // Versions are numbers from here on, and other processes may take the same ones on the same mirror: what it
  // holds of a version, or of a later one, is not replaced.
  void share_mirror() { shares_mirror_ = true; }

  // The first version: `directory`'s, of that name. With a mirror it is copied there.
  Status load(std::string version);
  // The first version: what the mirror holds.
  Status resume(std::shared_ptr<Mirror> mirror);

  // The next version, from a checkpoint or a delta on the current one; all ranks take it or none. `name`:
  // what it is called where it does not record its version. The entry has what contract and documents name
  // for it, without digests. Errors begin with the path.
  Result<Json> take(const std::filesystem::path& path, const std::string& name = "");

  // Where another process has put a later version than `current` into the mirror that they share: takes that,
  // as a whole. None where none has.
  Result<std::optional<Json>> take_mirrored(uint64_t current);

  // After `take`: brings the mirror and the next slots up, which nobody waits for; adds its seconds.
  Status follow_up(Json& entry);

  // Of the current version; of a cold load of the version that the last `take` gave.
  Result<Digest> digest() const;
  Result<Digest> cold_digest() const;

  const std::string& version() const { return version_; }
  bool addresses_unchanged() const;

 private:
  Status open_mirror();
  Status attach_mirror();
  Status put_in_mirror(const Checkpoint& checkpoint);
  Status attach_where_current();
  Status replace_mirror(const Checkpoint& checkpoint);
  Result<Json> take_any(const std::filesystem::path& path, const std::string& name);
  Result<Json> take_checkpoint(const std::filesystem::path& path, const std::string& name);
  Result<Json> take_delta(const std::filesystem::path& path, const std::string& name);
  Result<Digest> cold_digest_of(const std::filesystem::path& directory) const;

  const ModelDirectory& directory_;
  const LoadOptions options_;
  const TensorParallelOptions group_;
  const std::string mirror_path_;
  bool shares_mirror_ = false;
  Ranks ranks_;
  std::shared_ptr<Mirror> mirror_;
  std::string version_;
  std::optional<Checkpoint> to_mirror_;        // the last dense version, until follow_up
  std::filesystem::path base_;                 // the checkpoint that the deltas are on
  std::vector<std::filesystem::path> deltas_;  // since then
  std::vector<const std::byte*> addresses_;
};

}  // namespace liveweight::cli
