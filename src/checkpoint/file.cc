#include "checkpoint/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

Result<struct statx> facts_of(const std::filesystem::path& path) {
  struct statx facts {};
  if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &facts) != 0)
    return io_error(path, "stat");
  return facts;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) close(descriptor_);
}

tl::unexpected<Error> io_error(const std::filesystem::path& path, const char* verb) {
  return fail(ErrorCode::kIo, fmt::format("{}: cannot {} it: {}", path.string(), verb, std::strerror(errno)),
              {path.string()});
}

Result<FileDescriptor> open_file(const std::filesystem::path& path, int flags, const char* verb) {
  LW_TRY(reach(Step::kOpen));
  FileDescriptor descriptor(open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (descriptor.get() < 0) return io_error(path, verb);
  return descriptor;
}

Result<FileDescriptor> open_regular_file(const std::filesystem::path& path, int flags) {
  LW_ASSIGN(FileDescriptor descriptor, open_file(path, flags | O_NONBLOCK));
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return io_error(path, "stat");
  if (S_ISREG(status.st_mode)) return descriptor;
  return fail(ErrorCode::kIo, fmt::format("{}: expected a regular file", path.string()), {path.string()});
}

Result<size_t> read_file(const FileDescriptor& file, const std::filesystem::path& path,
                         std::span<std::byte> to) {
  size_t at = 0;
  while (at < to.size()) {
    LW_TRY(reach(Step::kRead));
    const ssize_t got =
        pread(file.get(), to.data() + at, shortened(Step::kRead, to.size() - at), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(path, "read");
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  return at;
}

Status write_file(const FileDescriptor& file, const std::filesystem::path& path,
                  std::span<const std::byte> bytes, uint64_t offset, Step step) {
  while (!bytes.empty()) {
    LW_TRY(reach(step));
    const ssize_t written =
        pwrite(file.get(), bytes.data(), shortened(step, bytes.size()), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error(path, "write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status sync_file(const FileDescriptor& file, const std::filesystem::path& path) {
  LW_TRY(reach(Step::kSync));
  if (fsync(file.get()) != 0) return io_error(path, "sync");
  return {};
}

Status sync_directory(const std::filesystem::path& path) {
  LW_ASSIGN(const FileDescriptor descriptor, open_file(path, O_RDONLY | O_DIRECTORY));
  return sync_file(descriptor, path);
}

Result<bool> is_mount_point(const std::filesystem::path& path) {
  LW_ASSIGN(const struct statx facts, facts_of(path));
  if (facts.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
    return (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  // A kernel before 5.8 does not tell; then it is whether the directory above is on another device.
  LW_ASSIGN(const struct statx above, facts_of(path.parent_path()));
  return facts.stx_dev_major != above.stx_dev_major || facts.stx_dev_minor != above.stx_dev_minor;
}

Status rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  LW_TRY(reach(Step::kRename));
  if (rename(from.c_str(), to.c_str()) != 0) return io_error(to, "replace");
  return {};
}

Result<std::string> read_text_file(const std::filesystem::path& path) {
  constexpr int64_t kLargest = 256 << 20;
  LW_ASSIGN(const FileDescriptor descriptor, open_regular_file(path));
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return io_error(path, "stat");
  if (status.st_size > kLargest) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: {} bytes, over the limit of {}", path.string(), status.st_size, kLargest),
                {path.string()});
  }
  constexpr size_t kRoomForParsers = 64;  // which read whole vectors
  std::string text;
  text.reserve(static_cast<size_t>(status.st_size) + kRoomForParsers);
  text.resize(static_cast<size_t>(status.st_size));
  LW_ASSIGN(const size_t got, read_file(descriptor, path, std::as_writable_bytes(std::span(text))));
  text.resize(got);
  return text;
}

}  // namespace liveweight
