// High-precision or quantized weights on disk: safetensors files, and Hugging Face directories of them. Files
// are opened read-only and mapped. Writers should replace files (rename), as all common ones do: where one
// overwrites or truncates a file that is mapped, what is read is neither the old nor the new, or zeros where
// the file ended, and `check_unchanged` says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/tensor.h"

namespace liveweight {

// A tensor of a safetensors header: `begin` and `end` are bytes of the data section. The name is the
// header's.
struct SafetensorsEntry {
  std::string_view name;
  DType dtype = DType::kBF16;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // by their place in the data
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;              // in the file
  std::shared_ptr<const char[]> names;  // all of them, one after the other
};

// Reads the header of a file of `file_bytes` bytes, of which `head` are the first: at least 8 and the whole
// header. Everything that the format forbids is kBadCheckpoint, with a sentence that names `file`, the tensor
// and the field.
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> head, uint64_t file_bytes,
                                                   const std::string& file);

class Mapping;  // src/checkpoint/mapping.h

// A file mapped for as long as this lives. Immutable; any thread may read it.
class SafetensorsFile {
 public:
  static Result<std::shared_ptr<const SafetensorsFile>> open(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  TensorView view(const SafetensorsEntry& entry) const;
  // kIo where the file at the path is not the one that was opened, of the same size and time, or where a part
  // was read that it did not have any more.
  Status check_unchanged() const;

 private:
  SafetensorsFile() = default;
  struct Identity {
    uint64_t device = 0, inode = 0, bytes = 0;
    int64_t seconds = 0, nanoseconds = 0;
    bool operator==(const Identity&) const = default;
  };
  static Identity identity_of(const void* stat);

  std::string path_;
  SafetensorsHeader header_;
  std::unique_ptr<const Mapping> mapping_;
  Identity identity_;
};

// A tensor of a directory, and the name of the file that holds it. Names live as long as what gave it.
struct CheckpointTensor {
  std::string_view name;
  TensorView view;
  std::string_view file;
};

// A Hugging Face directory: `model.safetensors.index.json` and its shards, else `model.safetensors`, else
// every `*.safetensors` there. Copies share the mapping. Immutable.
class Checkpoint {
 public:
  Checkpoint();  // of no files
  static Result<Checkpoint> open(const std::filesystem::path& directory);
  // One safetensors file alone.
  static Result<Checkpoint> open_file(const std::filesystem::path& file);

  const std::filesystem::path& directory() const { return directory_; }
  const std::vector<CheckpointTensor>& tensors() const;  // by file, and by their place in it
  const CheckpointTensor* find(std::string_view name) const;
  // Of the first file; of the file of that name; the strings and integers of the index's `metadata`.
  const std::map<std::string, std::string>& metadata() const;
  const std::map<std::string, std::string>& metadata_of(std::string_view file) const;
  const std::map<std::string, std::string>& index_metadata() const;
  std::vector<std::string> file_names() const;
  Status check_unchanged() const;

 private:
  struct Contents;
  Checkpoint(std::filesystem::path directory, std::shared_ptr<const Contents> contents);

  std::filesystem::path directory_;
  std::shared_ptr<const Contents> contents_;
};

// A small text file of a checkpoint (config.json, tokenizer.json): at most 256 MiB, regular files only. kIo
// otherwise.
Result<std::string> read_text_file(const std::filesystem::path& path);

// Writes one safetensors file, tensors in the order given, to a temporary name that replaces `path` when all
// is on disk.
Status write_safetensors(const std::filesystem::path& path,
                         std::span<const std::pair<std::string, TensorView>> tensors,
                         const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

// Writes a text file the same way.
Status write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace liveweight
