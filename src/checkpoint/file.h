// Files of the operating system, opened with care: nothing here waits on a FIFO or reads a directory.
#pragma once

#include <fcntl.h>

#include <filesystem>
#include <span>
#include <utility>

#include "base/seam.h"
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

// `verb` is for the error.
Result<FileDescriptor> open_file(const std::filesystem::path& path, int flags, const char* verb = "open");

// kIo where it is not a regular file. `flags`: O_RDONLY, O_WRONLY or O_RDWR.
Result<FileDescriptor> open_regular_file(const std::filesystem::path& path, int flags = O_RDONLY);

// Reads from the file's begin on; fewer bytes than asked for where it ends before. `path` is for the error.
Result<size_t> read_file(const FileDescriptor& file, const std::filesystem::path& path,
                         std::span<std::byte> to);

// Writes all of it at `offset`. `step`: what a test calls this.
Status write_file(const FileDescriptor& file, const std::filesystem::path& path,
                  std::span<const std::byte> bytes, uint64_t offset, Step step = Step::kWrite);

// From memory to the disk: its bytes and its size.
Status sync_file(const FileDescriptor& file, const std::filesystem::path& path);

// Names in a directory are on disk once the directory is.
Status sync_directory(const std::filesystem::path& path);

// Whether something is mounted on the file or directory itself. A symbolic link is not followed.
Result<bool> is_mount_point(const std::filesystem::path& path);

// `from` takes the place of `to`.
Status rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace liveweight
