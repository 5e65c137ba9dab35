#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "checkpoint/abandoned.h"
#include "checkpoint/write.h"

namespace liveweight {
namespace {

// "dir/" and "dir" are the same directory; its temporary neighbour needs the latter.
std::filesystem::path without_slash(const std::filesystem::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

ReplacementDirectory::ReplacementDirectory(const std::filesystem::path& path)
    : path_(without_slash(path)), temporary_(path_.string() + fmt::format(".tmp.{}", getpid())) {}

ReplacementDirectory::ReplacementDirectory(ReplacementDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      claim_(std::move(other.claim_)) {}

ReplacementDirectory::~ReplacementDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

Status ReplacementDirectory::create(mode_t mode) {
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), ignored);
  remove_abandoned(path_.parent_path(), path_.filename().string() + ".tmp.");
  if (mkdir(temporary_.c_str(), mode) != 0) return io_error(temporary_, "create");
  LW_ASSIGN(claim_, claim_directory(temporary_));
  return {};
}

Status ReplacementDirectory::finish(bool exchange) {
  LW_TRY(sync_directory(temporary_));
  LW_TRY(reach(Step::kRename));
  const int result = exchange
                         ? renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE)
                         : rename(temporary_.c_str(), path_.c_str());
  if (result != 0) return io_error(path_, exchange ? "exchange" : "replace");
  if (!exchange) temporary_.clear();  // else it holds the old directory now, which goes away with this
  const std::filesystem::path parent = path_.parent_path();
  return sync_directory(parent.empty() ? "." : parent);
}

}  // namespace liveweight
