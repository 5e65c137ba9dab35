// model.safetensors.index.json: which shard holds each tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

class ShardIndex {
 public:
  // kBadCheckpoint with a sentence that names the file and the tensor: no JSON, nested more than 32 deep, a
  // key that is there twice, a shard that is not a plain file's name, no tensor (unless it is a delta's).
  static Result<ShardIndex> parse(const std::filesystem::path& path, std::string_view text);
  ShardIndex(ShardIndex&&) noexcept;
  ShardIndex& operator=(ShardIndex&&) noexcept;
  ~ShardIndex();

  const std::vector<std::string>& shards() const { return shards_; }  // in order, each once
  size_t tensors() const { return shard_of_.size(); }
  bool puts(std::string_view tensor, size_t shard) const;
  // A tensor that is not among those that `has` tells of, and its shard; empty where there is none.
  template <typename Has>
  std::pair<std::string, std::string> first_without(const Has& has) const {
    for (const auto& [tensor, shard] : shard_of_) {
      if (!has(tensor)) return {std::string(tensor), shards_[shard]};
    }
    return {};
  }
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
  std::unordered_map<std::string_view, uint32_t> shard_of_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace liveweight
