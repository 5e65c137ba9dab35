// Files of the operating system, opened with care: nothing here waits on a FIFO or reads a directory.
#pragma once

#include <fcntl.h>

#include <filesystem>
#include <utility>

#include "liveweight/error.h"

namespace liveweight {

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor();
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// "path: cannot VERB it: No such file or directory", from errno.
tl::unexpected<Error> io_error(const std::filesystem::path& path, const char* verb);

// kIo where it is not a regular file. `flags`: O_RDONLY or O_RDWR.
Result<FileDescriptor> open_regular_file(const std::filesystem::path& path, int flags = O_RDONLY);

}  // namespace liveweight
