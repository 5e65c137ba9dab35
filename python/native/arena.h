// Memory for staged bytes: taken in large pieces on huge pages, untouched, and let go all at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::python {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Zeroed when fresh, at a multiple of 64. kResourceExhausted where there is no more.
  Result<std::byte*> allocate(uint64_t bytes);
  uint64_t bytes() const { return total_; }

 private:
  struct Chunk {
    std::byte* data = nullptr;
    uint64_t mapped = 0;
  };
  std::vector<Chunk> chunks_;
  std::byte* next_ = nullptr;
  uint64_t left_ = 0;
  uint64_t total_ = 0;
};

}  // namespace liveweight::python
