#include "checkpoint/directory_lock.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

namespace liveweight {
namespace {

namespace fs = std::filesystem;

Result<fs::path> resolve(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (!error) return real;
  return fail(ErrorCode::kIo, fmt::format("{}: cannot find it: {}", path.string(), error.message()),
              {path.string()});
}

Status check_not_mounted(const fs::path& path) {
  LW_ASSIGN(const bool mounted, is_mount_point(path));
  if (!mounted) return {};
  return fail(ErrorCode::kUnsupported,
              fmt::format("{}: it is a mount point, which cannot be exchanged for another directory; write "
                          "elsewhere with --out",
                          path.string()),
              {path.string()});
}

// Where there are no locks it is taken all the same.
bool lock(const FileDescriptor& directory) {
  return flock(directory.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

// It was exchanged where somebody else was at it between the opening and the lock.
bool is_at(const fs::path& path, const FileDescriptor& directory) {
  struct stat opened {
  }, there{};
  return fstat(directory.get(), &opened) == 0 && stat(path.c_str(), &there) == 0 &&
         opened.st_ino == there.st_ino && opened.st_dev == there.st_dev;
}

}  // namespace

Result<DirectoryLock> DirectoryLock::take(const fs::path& path) {
  LW_ASSIGN(fs::path real, resolve(path));
  LW_TRY(check_not_mounted(real));
  for (;;) {
    LW_ASSIGN(FileDescriptor directory, open_file(real, O_RDONLY | O_DIRECTORY));
    if (!lock(directory)) {
      return fail(ErrorCode::kBusy,
                  fmt::format("{}: it is locked: another process is changing it", real.string()),
                  {real.string()});
    }
    if (is_at(real, directory)) return DirectoryLock(std::move(real), std::move(directory));
  }
}

}  // namespace liveweight
