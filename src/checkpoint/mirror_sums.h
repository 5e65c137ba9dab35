// A mirror's file of checksums (docs/formats-mirror.md): of each part of its tensors, and the state that its
// bytes were last changed to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/mapping.h"
#include "liveweight/error.h"

namespace liveweight {

class MirrorSums {
 public:
  // Writes a new file, on disk when it returns.
  static Status write(const std::filesystem::path& path, uint64_t sequence, std::span<const uint64_t> sums);
  // kBadCheckpoint where it is not the file of a mirror with that many parts.
  static Result<MirrorSums> open(const std::filesystem::path& path, uint64_t parts);

  std::span<uint64_t> all() const { return words().subspan(1); }
  // The state whose changes came to the bytes last; whoever puts them in says so first. No later one did.
  uint64_t sequence() const { return words().front(); }
  void begin(uint64_t sequence) const { words().front() = sequence; }

  Status sync() const { return file_.sync(); }
  Status check_whole() const { return file_.check_whole(); }

 private:
  std::span<uint64_t> words() const {
    return {reinterpret_cast<uint64_t*>(file_.writable().data()), file_.bytes().size() / sizeof(uint64_t)};
  }

  Mapping file_;
};

// `what` is wrong with a file of a mirror, and no crash leaves it so. `name`: for programs, the file's where
// it is empty.
tl::unexpected<Error> damaged_mirror(ErrorCode code, const std::filesystem::path& file, std::string_view what,
                                     std::string name = "");

}  // namespace liveweight
