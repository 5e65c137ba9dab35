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

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) close(descriptor_);
}

tl::unexpected<Error> io_error(const std::filesystem::path& path, const char* verb) {
  return fail(ErrorCode::kIo, fmt::format("{}: cannot {} it: {}", path.string(), verb, std::strerror(errno)),
              {path.string()});
}

Result<FileDescriptor> open_regular_file(const std::filesystem::path& path, int flags) {
  FileDescriptor descriptor(open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) return io_error(path, "open");
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return io_error(path, "stat");
  if (S_ISREG(status.st_mode)) return descriptor;
  return fail(ErrorCode::kIo, fmt::format("{}: expected a regular file", path.string()), {path.string()});
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
  std::string text(static_cast<size_t>(status.st_size), '\0');
  size_t at = 0;
  while (at < text.size()) {
    const ssize_t got = read(descriptor.get(), text.data() + at, text.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(path, "read");
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  text.resize(at);
  return text;
}

}  // namespace liveweight
