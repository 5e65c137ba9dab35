#include "checkpoint/mapping.h"

#include <sys/mman.h>
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
  std::atomic<bool> lost{false};
  MappedRange* next = nullptr;
};

namespace {

std::atomic<MappedRange*> g_ranges{nullptr};
std::mutex g_ranges_mutex;  // of whoever adds a range; the handler takes none
struct sigaction g_action_before;

// Zeros from the page of `address` to the range's end. True where that worked. Only system calls: safe in a
// handler.
bool map_zeros(const std::byte* address, MappedRange& range) {
  const long page = sysconf(_SC_PAGESIZE);
  std::byte* const begin = range.begin;
  std::byte* const from = begin + (address - begin) / page * page;
  range.lost = true;
  return mmap(from, static_cast<size_t>(range.end.load() - from), PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
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

MappedRange* add_range(std::byte* data, uint64_t bytes) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  std::lock_guard lock(g_ranges_mutex);
  MappedRange* range = g_ranges;
  while (range && range->begin) range = range->next;
  const bool is_new = range == nullptr;
  if (is_new) range = new MappedRange;
  range->lost = false;
  range->end = data + bytes;
  range->begin = data;
  if (is_new) {
    range->next = g_ranges;
    g_ranges = range;
  }
  return range;
}

}  // namespace

Result<Mapping> Mapping::create(int descriptor, uint64_t bytes, const std::string& path) {
  Mapping mapping;
  if (bytes == 0) return mapping;
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) return io_error(path, "map");
  mapping.data_ = static_cast<const std::byte*>(data);
  mapping.bytes_ = bytes;
  mapping.range_ = add_range(static_cast<std::byte*>(data), bytes);
  return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept {
  *this = std::move(other);
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(range_, other.range_);
  return *this;
}

Mapping::~Mapping() {
  if (!range_) return;
  range_->begin = nullptr;
  munmap(const_cast<std::byte*>(data_), bytes_);
}

bool Mapping::lost() const {
  return range_ && range_->lost;
}

}  // namespace liveweight
