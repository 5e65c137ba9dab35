// Files that appear whole or not at all.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "checkpoint/file.h"
#include "liveweight/error.h"
#include "liveweight/tensor.h"

namespace liveweight {

// A file under a temporary name, which goes away unless `finish` puts it in its place, on disk.
class ReplacementFile {
 public:
  explicit ReplacementFile(const std::filesystem::path& path);
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  Status create();
  Status append(const void* data, uint64_t bytes);
  Status finish();

 private:
  std::filesystem::path path_;
  std::string temporary_;
  FileDescriptor descriptor_;
  uint64_t bytes_ = 0;
};

// A directory under a temporary name beside its own, which goes away unless `finish` puts it in its place.
// Those that processes left which were killed go away too.
class ReplacementDirectory {
 public:
  explicit ReplacementDirectory(const std::filesystem::path& path);
  ~ReplacementDirectory();
  ReplacementDirectory(ReplacementDirectory&& other) noexcept;
  ReplacementDirectory& operator=(ReplacementDirectory&&) = delete;

  // `mode`: of the directory until then, less the umask.
  Status create(mode_t mode = 0777);
  const std::filesystem::path& path() const { return temporary_; }  // where to write, until `finish`
  // The target must be missing or empty; with `exchange` it is there, and the two change places.
  Status finish(bool exchange = false);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty where nothing is left to remove
  FileDescriptor claim_;
};

// What a safetensors file begins with; the bytes of the tensors follow in their order. Only names, types and
// shapes are read.
Status append_safetensors_header(ReplacementFile& file,
                                 std::span<const std::pair<std::string, TensorView>> tensors,
                                 const std::map<std::string, std::string>& metadata);

}  // namespace liveweight
