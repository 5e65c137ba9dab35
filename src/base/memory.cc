#include "base/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/threads.h"

namespace liveweight {
namespace {

constexpr uint64_t kHugePage = 2u << 20;

// Faults pages in on all threads: on virtual machines the first touch costs far more than the later write.
void touch(std::byte* data, uint64_t bytes) {
  constexpr uint64_t kChunk = 16u << 20;
  const auto chunks = static_cast<int64_t>((bytes + kChunk - 1) / kChunk);
  ThreadPool::shared().parallel_for(chunks, [&](int64_t i) {
    const uint64_t begin = static_cast<uint64_t>(i) * kChunk;
    std::memset(data + begin, 0, std::min(kChunk, bytes - begin));
  });
}

}  // namespace

Result<Buffer> Buffer::allocate(uint64_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("cannot allocate {} bytes: {}", bytes, std::strerror(errno)));
  }
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.bytes_ = bytes;
  touch(buffer.data_, bytes);
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_) munmap(data_, bytes_);
}

void copy_memory(std::byte* to, const std::byte* from, uint64_t bytes) {
  constexpr uint64_t kStep = uint64_t{1} << 20;
  ThreadPool::shared().parallel_for(static_cast<int64_t>((bytes + kStep - 1) / kStep), [&](int64_t i) {
    const uint64_t at = static_cast<uint64_t>(i) * kStep;
    std::memcpy(to + at, from + at, std::min(kStep, bytes - at));
  });
}

}  // namespace liveweight
