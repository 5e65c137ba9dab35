// Large buffers that are mapped, aligned to pages and touched once, and the count of their bytes that are
// alive.
#pragma once

#include <cstddef>
#include <cstdint>

#include "liveweight/error.h"

namespace liveweight {

// Zeroed anonymous memory, on huge pages where the system has them, every page touched, so that the first
// write to it costs no fault. Move-only.
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> allocate(uint64_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  uint64_t size() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// memcpy, by all threads.
void copy_memory(std::byte* to, const std::byte* from, uint64_t bytes);

}  // namespace liveweight
