// A mapped file that survives its own truncation. Reading a mapped page that the file no longer
// has raises SIGBUS, which kills a process; here it gives zeros instead, and `check_whole` says so from then
// on. The signal's handler is installed with the first mapping and hands every fault that is not in a mapping
// of ours to the handler before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "liveweight/error.h"

namespace liveweight {

struct MappedRange;  // what the handler knows of a mapping

class Mapping {
 public:
  // Writes are not possible; stay in this process; reach the file and all who map it.
  enum class Access { kRead, kPrivate, kShared };

  // Maps `bytes` of the open file from its begin, or all of the regular file at `path`; kIo, with `path`,
  // where that fails. An empty file has no pages.
  static Result<Mapping> create(int descriptor, uint64_t bytes, const std::string& path, Access access);
  static Result<Mapping> open(const std::filesystem::path& path, Access access);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping() = default;
  ~Mapping();

  std::span<const std::byte> bytes() const { return {data_, bytes_}; }
  std::span<std::byte> writable() const { return {data_, bytes_}; }  // unless kRead
  Status sync() const;                                               // onto the disk
  // kIo where a page was read that the file did not have any more. Any thread.
  Status check_whole() const;

 private:
  std::string path_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  MappedRange* range_ = nullptr;
};

}  // namespace liveweight
