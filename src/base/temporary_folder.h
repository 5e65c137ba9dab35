// A folder for files that need not outlive the program.
#pragma once

#include <filesystem>

#include "liveweight/error.h"

namespace liveweight {

// A new, empty directory in the system's temporary directory; goes away with all that is in it. Move-only.
class TemporaryFolder {
 public:
  // `name` begins the folder's name: "liveweight-soak".
  static Result<TemporaryFolder> make(const std::string& name);
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  ~TemporaryFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace liveweight
