// The bytes of a mirror: mapped files, and where each tensor lies in them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "liveweight/mirror.h"

namespace liveweight {

// A file's bytes, writable: for all who map it, or for this process only.
class FileMapping {
 public:
  enum class Sharing { kPrivate, kShared };
  FileMapping() = default;
  static Result<FileMapping> open(const std::filesystem::path& path, Sharing sharing);
  FileMapping(FileMapping&& other) noexcept;
  FileMapping& operator=(FileMapping&& other) noexcept;
  ~FileMapping();

  std::span<std::byte> bytes() const { return {data_, bytes_}; }
  Status sync(const std::filesystem::path& path) const;  // onto the disk

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

struct MirrorTensor {
  DType dtype = DType::kBF16;
  Shape shape;
  std::span<std::byte> bytes;
  uint64_t first_part = 0;  // of its checksums, among all tensors' in the order of their names

  TensorView view() const { return {dtype, shape, bytes.data(), bytes.size()}; }
};

struct MirrorContent {
  std::vector<FileMapping> files;
  std::map<std::string, MirrorTensor> tensors;
  uint64_t parts = 0;

  static Result<MirrorContent> map(const Checkpoint& checkpoint, const TensorNames& names,
                                   FileMapping::Sharing sharing);

  Status check(const std::vector<TensorDelta>& deltas) const;
  // dtype and shape, which a log does not hold.
  Status complete(std::vector<TensorDelta>& deltas) const;
  void put(const std::vector<TensorDelta>& deltas);
  // What they overwrite.
  std::vector<TensorDelta> before(const std::vector<TensorDelta>& deltas) const;
};

}  // namespace liveweight
