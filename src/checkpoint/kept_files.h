// What lies in a directory beside the files that are written anew, kept in the directory that replaces it.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

// Gives `to` the owner, the group, the mode and the extended attributes (so, access control lists) of `from`,
// or of what it links to. kIo where one cannot be kept.
Status keep_mode(const std::filesystem::path& from, const std::filesystem::path& to);

// A regular file or a symbolic link, with all of that and its times, on disk. kIo where it is anything else.
Status copy_with_times(const std::filesystem::path& from, const std::filesystem::path& to);

class KeptFiles {
 public:
  // `replaced`: names in `from` itself, not in directories inside, that stay behind.
  KeptFiles(std::filesystem::path from, std::filesystem::path to, std::set<std::string> replaced)
      : from_(std::move(from)), to_(std::move(to)), replaced_(std::move(replaced)) {}

  // Everything else in `from`, in `to` too: files as hard links, or as copies where the file system has no
  // such links; directories made anew, with their modes and times. kIo, by its name, for what cannot be kept:
  // a mount point, or what is in `to` already.
  Status keep();
  // kIo where a name came into one of the directories, or left it, since `keep`.
  Status check_unchanged() const;

 private:
  Status keep_inside(const std::filesystem::path& from, const std::filesystem::path& to);
  Status keep_entry(const std::filesystem::path& from, const std::filesystem::path& to);
  Status keep_directory(const std::filesystem::path& from, const std::filesystem::path& to);

  std::filesystem::path from_, to_;
  std::set<std::string> replaced_;
  std::vector<std::pair<std::filesystem::path, timespec>> read_;  // directories, and when they last changed
};

}  // namespace liveweight
