#include "checkpoint/mapping.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "checkpoint/file.h"

namespace liveweight {

// A node of a list that only grows, so that the handler may walk it at any moment; a node is free where
// `begin` is null.
struct MappedRange {
  std::atomic<std::byte*> begin{nullptr};
  std::atomic<std::byte*> end{nullptr};
  std::atomic<int> protection{PROT_READ};
  std::atomic<bool> lost{false};
  MappedRange* next = nullptr;
};

namespace {

std::atomic<MappedRange*> g_ranges{nullptr};
std::mutex g_ranges_mutex;  // of whoever adds a range; the handler takes none
struct sigaction g_action_before;

// Zeros from the page of `address` to the range's end. True where that worked. Only system calls, and not by
// way of a library, which may do more (a sanitizer's takes it for a write that other threads race with).
bool map_zeros(const std::byte* address, MappedRange& range) {
  const long page = sysconf(_SC_PAGESIZE);
  std::byte* const begin = range.begin;
  std::byte* const from = begin + (address - begin) / page * page;
  range.lost = true;
  return syscall(SYS_mmap, from, static_cast<size_t>(range.end.load() - from), range.protection.load(),
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != -1;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (MappedRange* range = g_ranges; range; range = range->next) {
    const std::byte* begin = range->begin;
    if (!begin || address < begin || address >= range->end) continue;
    if (map_zeros(address, *range)) {
      errno = saved;
      return;
    }
  }
  errno = saved;
  if (g_action_before.sa_flags & SA_SIGINFO) return g_action_before.sa_sigaction(signal, info, context);
  if (g_action_before.sa_handler != SIG_DFL && g_action_before.sa_handler != SIG_IGN) {
    return g_action_before.sa_handler(signal);
  }
  // The instruction runs again, and ends the process as it would have without us.
  sigaction(SIGBUS, &g_action_before, nullptr);
}

void install_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &g_action_before);
}

MappedRange* add_range(std::byte* data, uint64_t bytes, int protection) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  std::lock_guard lock(g_ranges_mutex);
  MappedRange* range = g_ranges;
  while (range && range->begin) range = range->next;
  const bool is_new = range == nullptr;
  if (is_new) range = new MappedRange;
  range->lost = false;
  range->protection = protection;
  range->end = data + bytes;
  range->begin = data;
  if (is_new) {
    range->next = g_ranges;
    g_ranges = range;
  }
  return range;
}

}  // namespace

Result<Mapping> Mapping::create(int descriptor, uint64_t bytes, const std::string& path, Access access) {
  Mapping mapping;
  mapping.path_ = path;
  if (bytes == 0) return mapping;
  LW_TRY(reach(Step::kMap));
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data =
      mmap(nullptr, bytes, protection, access == Access::kPrivate ? MAP_PRIVATE : MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) return io_error(path, "map");
  // What is not in memory yet comes in huge pages, so that whoever maps the file from then on faults once for
  // 2 MB. Where the system has none for files, nothing is lost.
  if (access == Access::kRead) madvise(data, bytes, MADV_HUGEPAGE);
  mapping.data_ = static_cast<std::byte*>(data);
  mapping.bytes_ = bytes;
  mapping.range_ = add_range(mapping.data_, bytes, protection);
  return mapping;
}

Result<Mapping> Mapping::open(const std::filesystem::path& path, Access access) {
  LW_ASSIGN(const FileDescriptor file,
            open_regular_file(path, access == Access::kShared ? O_RDWR : O_RDONLY));
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return io_error(path, "stat");
  return create(file.get(), static_cast<uint64_t>(status.st_size), path, access);
}

Mapping::Mapping(Mapping&& other) noexcept {
  *this = std::move(other);
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(range_, other.range_);
  return *this;
}

Mapping::~Mapping() {
  if (!range_) return;
  range_->begin = nullptr;
  munmap(data_, bytes_);
}

Status Mapping::sync() const {
  LW_TRY(reach(Step::kSync));
  if (data_ && msync(data_, bytes_, MS_SYNC) != 0) return io_error(path_, "sync");
  return {};
}

Status Mapping::check_whole() const {
  if (!range_ || !range_->lost) return {};
  return fail(ErrorCode::kIo, fmt::format("{}: the file changed while it was being read", path_), {path_});
}

}  // namespace liveweight
