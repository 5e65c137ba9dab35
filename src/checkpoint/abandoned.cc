#include "checkpoint/abandoned.h"

#include <linux/magic.h>
#include <sys/file.h>
#include <sys/statfs.h>

#include <algorithm>
#include <chrono>

#include "base/guarded.h"

namespace liveweight {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes kYoung{1};  // it may be somebody's who has not come to claim it
constexpr int64_t kXfs = 0x58465342;       // not in linux/magic.h

bool is_local(const fs::path& path) {
  constexpr int64_t kLocal[] = {EXT4_SUPER_MAGIC, kXfs,        BTRFS_SUPER_MAGIC,
                                F2FS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC};
  struct statfs facts {};
  return statfs(path.c_str(), &facts) == 0 &&
         std::find(std::begin(kLocal), std::end(kLocal), static_cast<int64_t>(facts.f_type)) !=
             std::end(kLocal);
}

bool is_named_so(const std::string& name, const std::string& prefix) {
  return name.size() > prefix.size() && name.starts_with(prefix) &&
         std::all_of(name.begin() + static_cast<ptrdiff_t>(prefix.size()), name.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

bool is_young(const fs::path& path) {
  return fs::file_time_type::clock::now() - fs::last_write_time(path) < kYoung;
}

Status remove_unclaimed(const fs::path& path) {
  if (!fs::is_directory(fs::symlink_status(path)) || is_young(path)) return {};
  LW_ASSIGN(const FileDescriptor directory, open_file(path, O_RDONLY | O_DIRECTORY));
  if (flock(directory.get(), LOCK_EX | LOCK_NB) == 0) fs::remove_all(path);
  return {};
}

}  // namespace

Result<FileDescriptor> claim_directory(const fs::path& path) {
  LW_ASSIGN(FileDescriptor directory, open_file(path, O_RDONLY | O_DIRECTORY));
  // Where there are no locks nothing is removed.
  [[maybe_unused]] const int ignored = flock(directory.get(), LOCK_EX | LOCK_NB);
  return directory;
}

void remove_abandoned(const fs::path& place, const std::string& prefix) noexcept {
  const fs::path directory = place.empty() ? "." : place;
  // What cannot be removed is in nobody's way.
  [[maybe_unused]] const Status ignored = guarded([&]() -> Status {
    if (!is_local(directory)) return {};
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (!is_named_so(entry.path().filename().string(), prefix)) continue;
      [[maybe_unused]] const Status next = guarded([&] { return remove_unclaimed(entry.path()); });
    }
    return {};
  });
}

}  // namespace liveweight
