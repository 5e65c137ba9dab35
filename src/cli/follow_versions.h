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
// has no index yet, or as long as patience bears what is wrong with it.
class VersionList {
 public:
  explicit VersionList(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Status scan(Patience& patience);

  const VersionDirectory* newest_full() const;
  // What comes after version `current`: a newer full checkpoint, the newest of them; else the delta on it.
  // kStaleVersion where there are newer deltas, but none on it. Null where there is nothing.
  Result<const VersionDirectory*> next(uint64_t current) const;

 private:
  std::filesystem::path directory_;
  std::set<std::string> known_;
  std::vector<VersionDirectory> versions_;
};

}  // namespace liveweight::cli
