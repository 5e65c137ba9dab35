// The versions in a directory that a trainer writes them into.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/patience.h"
#include "liveweight/error.h"

namespace liveweight::cli {

// One directory of weights in the directory of versions.
struct VersionDirectory {
  std::filesystem::path path;
  bool is_delta = false;
  std::string version, base_version;
  uint64_t number = 0;
};

// Digits only; none for anything else.
std::optional<uint64_t> version_number(const std::string& text);

// The versions that are there, by their numbers. What is still being written is left out: by its name, as it
// has no index yet, or as long as patience bears what is wrong with it; and so is what is newer than `last`,
// where that is given. Errors are about the first of their names.
class VersionList {
 public:
  VersionList(std::filesystem::path directory, std::optional<uint64_t> last)
      : directory_(std::move(directory)), last_(last) {}

  Status scan(Patience& patience);

  // Null where there is none; kBadCheckpoint where there are two of one version.
  Result<const VersionDirectory*> newest_full() const;
  // The full checkpoint of that version; likewise.
  Result<const VersionDirectory*> full(uint64_t number) const;
  // What comes after version `current`: a newer full checkpoint, the newest of them; else the delta on it,
  // the oldest of them. kStaleVersion where there are newer deltas, but none on it. Null where there is
  // nothing.
  Result<const VersionDirectory*> next(uint64_t current) const;

 private:
  // Of those that `wanted` takes, the one that comes before all others by `before`.
  template <typename Wanted, typename Before>
  Result<const VersionDirectory*> first(const Wanted& wanted, const Before& before) const;

  std::filesystem::path directory_;
  std::optional<uint64_t> last_;
  std::set<std::string> known_;
  std::vector<VersionDirectory> versions_;
};

}  // namespace liveweight::cli
