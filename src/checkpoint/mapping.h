// A file mapped for reading that survives its own truncation. Reading a mapped page that the file no longer
// has raises SIGBUS, which kills a process; here it gives zeros instead, and `lost` says so from then on. The
// signal's handler is installed with the first mapping and hands every fault that is not in a mapping of ours
// to the handler before it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "liveweight/error.h"

namespace liveweight {

struct MappedRange;  // what the handler knows of a mapping

class Mapping {
 public:
  // Maps `bytes` of the open file from its begin; kIo, with `path`, where that fails. An empty file has no
  // pages.
  static Result<Mapping> create(int descriptor, uint64_t bytes, const std::string& path);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping() = default;
  ~Mapping();

  const std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  // Whether a page was read that the file did not have any more. Any thread.
  bool lost() const;

 private:
  const std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  MappedRange* range_ = nullptr;
};

}  // namespace liveweight
