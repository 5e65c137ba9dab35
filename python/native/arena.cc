#include "arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace liveweight::python {
namespace {

constexpr uint64_t kChunk = 64u << 20;
constexpr uint64_t kHugePage = 2u << 20;

uint64_t rounded_up(uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) munmap(chunk.data, chunk.mapped);
}

uint64_t Arena::bytes() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

Result<std::byte*> Arena::allocate(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  bytes = rounded_up(bytes);
  taken_ += bytes;
  if (auto& same = given_back_[bytes]; !same.empty()) {
    std::byte* memory = same.back();
    same.pop_back();
    return memory;
  }
  if (bytes > left_) {
    const uint64_t wanted = std::max(kChunk, (bytes + kHugePage - 1) / kHugePage * kHugePage);
    const uint64_t mapped = wanted + kHugePage;  // so that it can begin at a huge page
    void* data =
        mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("cannot allocate {} bytes: {}", mapped, std::strerror(errno)));
    }
    const auto address = reinterpret_cast<uintptr_t>(data);
    next_ = static_cast<std::byte*>(data) + ((address + kHugePage - 1) / kHugePage * kHugePage - address);
    madvise(next_, wanted, MADV_HUGEPAGE);
    chunks_.push_back({static_cast<std::byte*>(data), mapped});
    left_ = wanted;
  }
  std::byte* taken = next_;
  next_ += bytes;
  left_ -= bytes;
  return taken;
}

void Arena::give_back(std::byte* memory, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  taken_ -= rounded_up(bytes);
  given_back_[rounded_up(bytes)].push_back(memory);
}

}  // namespace liveweight::python
