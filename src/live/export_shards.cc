#include "live/export_shards.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/threads.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

using Shard = std::vector<const ExportTensor*>;

std::vector<Shard> split(const std::vector<ExportTensor>& tensors, uint64_t shard_bytes) {
  std::vector<Shard> shards(1);
  uint64_t bytes = 0;
  for (const ExportTensor& tensor : tensors) {
    if (!shards.back().empty() && bytes + tensor.view.bytes > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += tensor.view.bytes;
    shards.back().push_back(&tensor);
  }
  return shards;
}

void sort_for_alignment(Shard& shard) {
  std::sort(shard.begin(), shard.end(), [](const ExportTensor* a, const ExportTensor* b) {
    return a->view.dtype != b->view.dtype ? a->view.dtype > b->view.dtype : a->name < b->name;
  });
}

Status write_shard(const std::filesystem::path& path, Shard shard,
                   const std::map<std::string, std::string>& metadata) {
  sort_for_alignment(shard);
  std::vector<std::vector<std::byte>> owned(shard.size());
  ThreadPool::shared().parallel_for(static_cast<int64_t>(shard.size()), [&](int64_t i) {
    if (shard[i]->make) owned[i] = shard[i]->make();
  });
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (size_t i = 0; i < shard.size(); ++i) {
    TensorView view = shard[i]->view;
    if (shard[i]->make) view.data = owned[i].data();
    tensors.emplace_back(shard[i]->name, std::move(view));
  }
  return write_safetensors(path, tensors, metadata);
}

Status write_index(const std::filesystem::path& directory, const std::vector<Shard>& shards,
                   const std::vector<std::string>& names) {
  uint64_t total = 0;
  std::map<std::string, std::string> weight_map;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const ExportTensor* tensor : shards[i]) {
      weight_map[tensor->name] = names[i];
      total += tensor->view.bytes;
    }
  }
  const OrderedJson index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return write_text_file(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

Result<int64_t> write_shards(const std::filesystem::path& directory, const ExportContents& contents,
                             uint64_t shard_bytes) {
  const std::vector<Shard> shards = split(contents.tensors, shard_bytes);
  std::vector<std::string> names;
  for (size_t i = 0; i < shards.size(); ++i) {
    names.push_back(shards.size() == 1
                        ? "model.safetensors"
                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    LW_TRY(write_shard(directory / names[i], shards[i], contents.metadata));
  }
  if (shards.size() > 1) LW_TRY(write_index(directory, shards, names));
  return static_cast<int64_t>(shards.size());
}

}  // namespace liveweight
