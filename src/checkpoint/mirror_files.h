// A mirror's directory: the generation that is current, its files, and the lock of all who use it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/file.h"
#include "checkpoint/mirror_content.h"
#include "checkpoint/mirror_log.h"

namespace liveweight {

// A lock held on an open file, until this goes away.
class FileLock {
 public:
  enum class Kind { kShared, kExclusive };
  static Result<FileLock> take(const std::filesystem::path& path, Kind kind);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

class MirrorFiles {
 public:
  explicit MirrorFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path lock() const { return directory_ / "lock"; }
  std::filesystem::path log() const { return generation_path() / "log"; }
  std::filesystem::path weights() const { return generation_path() / "model.safetensors"; }
  std::filesystem::path sums() const { return generation_path() / "sums"; }
  const std::string& generation() const { return generation_; }

  // Makes the directory where it is not there.
  Status create() const;
  // The current generation's name, empty where there is none yet.
  Result<std::string> current() const;
  void select(std::string generation) { generation_ = std::move(generation); }
  // Writes a new generation with that checkpoint and makes it current; the others go away.
  Status write(const Checkpoint& checkpoint, const TensorNames& names, uint64_t sequence,
               const std::string& version);

 private:
  std::filesystem::path generation_path() const { return directory_ / generation_; }
  Status write_generation(const std::filesystem::path& path, const Checkpoint& checkpoint,
                          const TensorNames& names, uint64_t sequence, const std::string& version) const;
  void remove_others() const;

  std::filesystem::path directory_;
  std::string generation_;
};

// Every sum of a content's parts as it is, by all threads.
std::vector<uint64_t> sums_of(const MirrorContent& content);

// Of `parts` parts by the sums of some all over them, at most 1,024: what tells a checkpoint from another one
// of the same tensors.
uint64_t sample_of(uint64_t parts, const std::function<uint64_t(uint64_t)>& sum_of);

// What tells this boot of the machine from others: changes that only reached its memory are gone in the next.
std::string boot_of_machine();

}  // namespace liveweight
