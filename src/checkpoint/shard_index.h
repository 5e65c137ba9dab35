// model.safetensors.index.json: which shard holds each tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/name_table.h"
#include "liveweight/error.h"

namespace liveweight {

class ShardIndex {
 public:
  // A tensor, and the place of its shard among `shards`.
  struct Entry {
    std::string_view tensor;
    uint32_t shard = 0;
  };

  // kBadCheckpoint with a sentence that names the file and the tensor: no JSON, nested more than 32 deep, a
  // key that is there twice, a shard that is not a plain file's name, no tensor (unless it is a delta's).
  static Result<ShardIndex> parse(const std::filesystem::path& path, const std::string& text);
  ShardIndex(ShardIndex&&) noexcept;
  ShardIndex& operator=(ShardIndex&&) noexcept;
  ~ShardIndex();

  const std::vector<std::string>& shards() const { return shards_; }  // in order, each once
  const std::vector<Entry>& entries() const { return entries_; }
  // The place among `entries` of a tensor that is in that shard. Quickest for the one that follows `after`.
  std::optional<uint32_t> find(std::string_view tensor, size_t shard, std::optional<uint32_t> after) const;
  // From names to places among `entries`.
  NameTable take_names() { return std::move(names_); }
  // The strings and integers of `metadata`.
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

 private:
  struct Document;
  explicit ShardIndex(std::unique_ptr<Document> document);
  Status read(const std::filesystem::path& path);
  Status read_metadata(const std::filesystem::path& path);
  Status read_weight_map(const std::filesystem::path& path);

  std::unique_ptr<Document> document_;  // holds the names
  std::vector<std::string> shards_;
  std::vector<Entry> entries_;
  NameTable names_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace liveweight
