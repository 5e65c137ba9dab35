// The log of a mirror on disk (docs/formats-mirror.md): what each version changes, then the sums of the parts
// that it touches. A last record that is not whole was never there, as a crash may leave it so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/file.h"
#include "liveweight/delta.h"

namespace liveweight {

// A version of the mirror. `sequence` grows by one with each.
struct MirrorChange {
  uint64_t sequence = 0;
  std::string version;
  std::vector<TensorDelta> deltas;                  // name, positions and values; owned
  std::vector<std::pair<uint64_t, uint64_t>> sums;  // by part, after this change
  bool has_sums = false;                            // from then on some of it may be in the bytes
  std::string settled_in;   // the boot of the machine in which all of it reached the bytes; empty: none did
  bool takes_back = false;  // the change before it
};

// The checkpoint that a mirror was made of.
struct MirrorOrigin {
  std::string version;
  uint64_t sample = 0;  // of its bytes (sample_of)
};

// What the bytes held when the log was begun, and what came since.
struct MirrorLogContent {
  uint64_t sequence = 0;
  std::string version;
  MirrorOrigin origin;
  std::vector<MirrorChange> changes;
  uint64_t bytes = 0;  // of the records that count

  uint64_t last_sequence() const { return changes.empty() ? sequence : changes.back().sequence; }
};

// Writes an empty log that replaces the one at `path`, on disk; gives its length.
Result<uint64_t> begin_mirror_log(const std::filesystem::path& path, uint64_t sequence,
                                  const std::string& version, const MirrorOrigin& origin);

// A number that tells the file at `path` from others that were or will be there, while it is of that length;
// 0 where it is of another.
uint64_t identity_of_log(const std::filesystem::path& path, uint64_t bytes);

// kBadCheckpoint where it is damaged: its first record is, or one that others follow. kUnsupported where an
// earlier Liveweight made the mirror.
Result<MirrorLogContent> read_mirror_log(const std::filesystem::path& path);

// Appends at byte `at`, on disk when it returns; gives the log's new length. What was after `at` goes away.
Result<uint64_t> append_change(const std::filesystem::path& path, uint64_t at, const MirrorChange& change);
Result<uint64_t> append_sums(const std::filesystem::path& path, uint64_t at, const MirrorChange& change);
Result<uint64_t> append_settled(const std::filesystem::path& path, uint64_t at, const MirrorChange& change);

// All that is in it is on disk when this returns.
Status sync_log(const std::filesystem::path& path);

}  // namespace liveweight
