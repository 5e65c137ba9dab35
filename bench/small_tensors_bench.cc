#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/memory.h"
#include "bench/plan_bench.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "bench/synthetic_experts.h"
#include "checkpoint/mapping.h"
#include "liveweight/load.h"
#include "tensor/codec.h"

namespace liveweight::bench {
namespace {

constexpr size_t kShards = 16;

std::string shard_name(size_t shard) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, kShards);
}

SyntheticExperts small(int64_t layers, int64_t experts) {
  return {layers, experts, 32, 32, 2, 1, 16, 1024};
}

// Every tensor reads the same numbers: what they are does not matter here.
std::vector<std::byte> numbers(uint64_t bytes) {
  std::vector<std::byte> all(bytes);
  auto* bits = reinterpret_cast<uint16_t*>(all.data());
  for (uint64_t i = 0; i < bytes / 2; ++i) bits[i] = float_to_bf16(static_cast<float>(i % 97) * 0.01f - 0.5f);
  return all;
}

struct Timed {
  double open = 0, reload = 0;
};

Result<Timed> reload_once(LiveModel& model, const std::filesystem::path& directory) {
  Timed timed;
  std::optional<Result<Checkpoint>> checkpoint;
  timed.open = seconds_of([&] { checkpoint = Checkpoint::open(directory); });
  if (!*checkpoint) return tl::unexpected((*checkpoint).error());
  std::optional<Result<UpdateReport>> report;
  timed.reload = seconds_of([&] { report = reload(model, **checkpoint); });
  timed.open += seconds_of([&] { checkpoint.reset(); });
  if (!*report) return tl::unexpected((*report).error());
  return timed;
}

// Maps the shards anew, as a reload does, and lets them go.
Result<double> floor_once(const std::filesystem::path& directory, const Buffer& target) {
  Status status;
  const uint64_t share = target.size() / kShards / 64 * 64;
  const double seconds = seconds_of([&] {
    for (size_t shard = 0; shard < kShards && status; ++shard) {
      const auto mapping = Mapping::open(directory / shard_name(shard), Mapping::Access::kRead);
      if (!mapping) {
        status = tl::unexpected(mapping.error());
        continue;
      }
      stream(mapping->bytes().data(), mapping->bytes().size(), target.data() + shard * share, share);
    }
  });
  LW_TRY(status);
  return seconds;
}

}  // namespace

Status write_small_tensors(const std::filesystem::path& directory, int64_t layers, int64_t experts) {
  const std::string config = config_of(small(layers, experts));
  LW_ASSIGN(const ModelConfig parsed, parse_model_config(config));
  LW_ASSIGN(const ModelDescription model, describe_model(parsed));
  std::vector<std::pair<std::string, TensorView>> tensors;
  uint64_t largest = 0;
  for (const ParameterDescription& parameter : model.parameters) {
    for (const Member& member : parameter.members) {
      const auto bytes = 2 * static_cast<uint64_t>(element_count(member.shape));
      tensors.push_back({member.name, {DType::kBF16, member.shape, nullptr, bytes}});
      largest = std::max(largest, bytes);
    }
  }
  const std::vector<std::byte> data = numbers(largest);
  for (auto& [name, view] : tensors) view.data = data.data();
  std::filesystem::create_directories(directory);
  std::string index = R"({"metadata": {}, "weight_map": {)";
  for (size_t shard = 0; shard < kShards; ++shard) {
    const size_t begin = shard * tensors.size() / kShards, end = (shard + 1) * tensors.size() / kShards;
    const std::string file = shard_name(shard);
    const std::span<const std::pair<std::string, TensorView>> all(tensors);
    LW_TRY(write_safetensors(directory / file, all.subspan(begin, end - begin)));
    for (size_t i = begin; i < end; ++i) {
      index += fmt::format("{}\"{}\": \"{}\"", i == 0 ? "" : ", ", tensors[i].first, file);
    }
  }
  LW_TRY(write_text_file(directory / "model.safetensors.index.json", index + "}}"));
  return write_text_file(directory / "config.json", config);
}

Result<SmallTensorFigures> measure_small_tensors(const std::filesystem::path& directory,
                                                 const std::string& scheme, int rounds) {
  LoadOptions options;
  LW_ASSIGN(const Scheme parsed, parse_scheme(scheme));
  options.quantization = QuantizationConfig::uniform(parsed);
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  LW_ASSIGN(const auto model, load_model(opened, options));
  LW_ASSIGN(const Buffer target, Buffer::allocate(model->plan().live_bytes()));
  LW_TRY(reload_once(*model, directory));  // both slots have been written once
  SmallTensorFigures f;
  f.scheme = scheme;
  f.tensors = static_cast<int64_t>(opened.checkpoint.tensors().size());
  f.source_bytes = model->plan().source_bytes();
  std::vector<double> opens, reloads, floors, overheads;
  for (int round = 0; round < rounds; ++round) {
    LW_ASSIGN(floors.emplace_back(), floor_once(directory, target));
    LW_ASSIGN(const Timed timed, reload_once(*model, directory));
    opens.push_back(timed.open);
    reloads.push_back(timed.reload);
    overheads.push_back((timed.open + timed.reload - floors.back()) / static_cast<double>(f.tensors));
  }
  f.open_seconds = median(opens);
  f.reload_seconds = median(reloads);
  f.floor_seconds = median(floors);
  f.overhead_seconds = median(overheads);
  return f;
}

}  // namespace liveweight::bench
