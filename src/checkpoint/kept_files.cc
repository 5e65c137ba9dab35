#include "checkpoint/kept_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "checkpoint/file.h"

namespace liveweight {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostOfAnAttribute = 65536;  // of its value, and of all names together: the system's limit

tl::unexpected<Error> refuse(const fs::path& path, const std::string& why) {
  return fail(ErrorCode::kIo, fmt::format("{}: cannot keep it: {}", path.string(), why), {path.string()});
}

Result<struct stat> facts_of(const fs::path& path, int flags = AT_SYMLINK_NOFOLLOW) {
  struct stat facts {};
  if (fstatat(AT_FDCWD, path.c_str(), &facts, flags) != 0) return io_error(path, "stat");
  return facts;
}

// Labels that only the system sets come by themselves.
bool is_users(std::string_view attribute) {
  return attribute.starts_with("user.") || attribute.starts_with("system.");
}

Status keep_attribute(const fs::path& from, const fs::path& to, const char* name) {
  std::string value(kMostOfAnAttribute, '\0');
  const ssize_t bytes = getxattr(from.c_str(), name, value.data(), value.size());
  if (bytes >= 0 && setxattr(to.c_str(), name, value.data(), static_cast<size_t>(bytes), 0) == 0) return {};
  if (!is_users(name)) return {};
  return io_error(from, fmt::format("keep the attribute {} of", name).c_str());
}

Status keep_attributes(const fs::path& from, const fs::path& to) {
  std::string names(kMostOfAnAttribute, '\0');
  const ssize_t bytes = listxattr(from.c_str(), names.data(), names.size());
  if (bytes < 0 && errno == ENOTSUP) return {};
  if (bytes < 0) return io_error(from, "list the attributes of");
  for (size_t at = 0; at < static_cast<size_t>(bytes); at += std::string_view(&names[at]).size() + 1)
    LW_TRY(keep_attribute(from, to, &names[at]));
  return {};
}

Status keep_owner(const fs::path& from, const struct stat& facts, const fs::path& to) {
  LW_ASSIGN(const struct stat made, facts_of(to));
  if (made.st_uid == facts.st_uid && made.st_gid == facts.st_gid) return {};
  if (lchown(to.c_str(), facts.st_uid, facts.st_gid) == 0) return {};
  return io_error(from, "keep the owner of");
}

Status keep_times(const fs::path& from, const struct stat& facts, const fs::path& to) {
  const timespec times[] = {facts.st_atim, facts.st_mtim};
  if (utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0) return {};
  return io_error(from, "keep the times of");
}

Status copy_link(const fs::path& from, const struct stat& facts, const fs::path& to) {
  std::error_code error;
  fs::copy_symlink(from, to, error);
  if (error) return refuse(from, error.message());
  LW_TRY(keep_owner(from, facts, to));
  return keep_times(from, facts, to);
}

Status copy_regular(const fs::path& from, const struct stat& facts, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return refuse(from, error.message());
  LW_ASSIGN(const FileDescriptor file, open_regular_file(to));
  LW_TRY(keep_mode(from, to));
  LW_TRY(keep_times(from, facts, to));
  return sync_file(file, to);
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

Status keep_mode(const fs::path& from, const fs::path& to) {
  LW_ASSIGN(const struct stat facts, facts_of(from, 0));
  LW_TRY(keep_owner(from, facts, to));
  LW_TRY(keep_attributes(from, to));
  if (chmod(to.c_str(), facts.st_mode & 07777) != 0) return io_error(from, "keep the mode of");
  return {};
}

Status copy_with_times(const fs::path& from, const fs::path& to) {
  LW_ASSIGN(const struct stat facts, facts_of(from));
  if (S_ISLNK(facts.st_mode)) return copy_link(from, facts, to);
  if (S_ISREG(facts.st_mode)) return copy_regular(from, facts, to);
  return refuse(from, "it is neither a file, a directory nor a symbolic link");
}

Status KeptFiles::keep() {
  return keep_inside(from_, to_);
}

Status KeptFiles::keep_inside(const fs::path& from, const fs::path& to) {
  LW_ASSIGN(const struct stat facts, facts_of(from));
  read_.emplace_back(from, facts.st_mtim);
  std::error_code error;
  for (fs::directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
    const fs::path name = it->path().filename();
    if (from == from_ && replaced_.contains(name.string())) continue;
    LW_TRY(keep_entry(it->path(), to / name));
  }
  if (!error) return {};
  return refuse(from, error.message());
}

Status KeptFiles::keep_entry(const fs::path& from, const fs::path& to) {
  LW_ASSIGN(const bool mounted, is_mount_point(from));
  if (mounted) return refuse(from, "it is a mount point");
  LW_ASSIGN(const struct stat facts, facts_of(from));
  if (S_ISDIR(facts.st_mode)) return keep_directory(from, to);
  if (linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) == 0) return {};
  switch (errno) {
    case EEXIST:
      return refuse(from, "the new checkpoint has a file of that name");
    case EXDEV:
      return refuse(from, "it is on another file system");
    case EPERM:
    case EMLINK:
    case EOPNOTSUPP:
    case ENOSYS:
      return copy_with_times(from, to);
    default:
      return io_error(from, "link");
  }
}

Status KeptFiles::keep_directory(const fs::path& from, const fs::path& to) {
  LW_ASSIGN(const struct stat facts, facts_of(from));
  constexpr mode_t kOnlyMine = 0700;  // until it has its own mode
  if (mkdir(to.c_str(), kOnlyMine) != 0)
    return refuse(from, errno == EEXIST ? "the new checkpoint has a file of that name" : strerror(errno));
  LW_TRY(keep_inside(from, to));
  LW_TRY(keep_mode(from, to));
  LW_TRY(keep_times(from, facts, to));
  return sync_directory(to);
}

Status KeptFiles::check_unchanged() const {
  for (const auto& [path, changed] : read_) {
    LW_ASSIGN(const struct stat facts, facts_of(path));
    if (same_time(facts.st_mtim, changed)) continue;
    return fail(ErrorCode::kIo,
                fmt::format("{}: files came into it or left it meanwhile; it stays as it is", path.string()),
                {path.string()});
  }
  return {};
}

}  // namespace liveweight
