// Memory for staged bytes: taken in large pieces on huge pages, untouched, and let go all at once.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::python {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // At a multiple of 64. kResourceExhausted where there is no more.
  Result<std::byte*> allocate(uint64_t bytes);

  // For the next one that wants as much.
  void give_back(std::byte* memory, uint64_t bytes);

  // Of what is allocated.
  uint64_t bytes() const;

 private:
  struct Chunk {
    std::byte* data = nullptr;
    uint64_t mapped = 0;
  };
  mutable std::mutex mutex_;
  std::vector<Chunk> chunks_;
  std::unordered_map<uint64_t, std::vector<std::byte*>> given_back_;  // by bytes
  std::byte* next_ = nullptr;
  uint64_t left_ = 0;
  uint64_t taken_ = 0;
};

}  // namespace liveweight::python
