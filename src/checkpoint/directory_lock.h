// A directory that is exchanged for another in place, by one process at a time.
#pragma once

#include <filesystem>
#include <utility>

#include "checkpoint/file.h"

namespace liveweight {

class DirectoryLock {
 public:
  // The directory itself where symbolic links lead to it, until this goes away. kBusy while somebody else has
  // it; kUnsupported where it is a mount point, which cannot be exchanged.
  static Result<DirectoryLock> take(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

 private:
  DirectoryLock(std::filesystem::path path, FileDescriptor directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  std::filesystem::path path_;
  FileDescriptor directory_;
};

}  // namespace liveweight
