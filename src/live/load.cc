#include "liveweight/load.h"

#include <fmt/format.h>

#include <system_error>

#include "live/begin_together.h"

namespace liveweight {

Result<ModelConfig> read_model_config(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return fail(ErrorCode::kIo, fmt::format("{}: expected a directory", directory.string()),
                {directory.string()});
  }
  LW_ASSIGN(const std::string text, read_text_file(directory / "config.json"));
  LW_ASSIGN(ModelConfig config, parse_model_config(text));
  const auto generation = directory / "generation_config.json";
  if (std::filesystem::exists(generation, error)) {
    LW_ASSIGN(const std::string generation_text, read_text_file(generation));
    LW_TRY(apply_generation_config(generation_text, config));
  }
  return config;
}

TiedTensors tied_tensors(const std::filesystem::path& directory) {
  const auto config = read_model_config(directory);
  if (!config) return {};
  auto description = describe_model(*config);
  return description ? std::move(description->aliases) : TiedTensors();
}

Result<TensorCatalog> catalog_of(const Checkpoint& checkpoint, const NameMap& names) {
  TensorCatalog catalog;
  catalog.reserve(checkpoint.tensors().size());
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    LW_ASSIGN(std::string name, names.canonical(tensor.name));
    if (is_ignored_tensor(name)) continue;
    const auto [at, added] =
        catalog.emplace(std::move(name), TensorFacts{tensor.view.dtype, tensor.view.shape});
    if (added) continue;
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: two names of the source map to {}", tensor.name, at->first),
                {std::string(tensor.name), at->first});
  }
  return catalog;
}

Result<ModelDirectory> open_model_directory(const std::filesystem::path& directory, const NameMap& names) {
  LW_ASSIGN(const ModelConfig config, read_model_config(directory));
  LW_ASSIGN(ModelDescription description, describe_model(config));
  LW_ASSIGN(Checkpoint checkpoint, Checkpoint::open(directory));
  LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, names));
  QuantizationConfig quantization;
  if (!config.quantization_config.empty()) {
    // torchao lists its tensors in the metadata of the safetensors files that it writes.
    const bool torchao_serialized = checkpoint.metadata().contains("tensor_names");
    LW_ASSIGN(quantization, QuantizationConfig::parse(config.quantization_config, torchao_serialized));
  }
  return ModelDirectory{std::move(description), std::move(checkpoint), std::move(catalog),
                        std::move(quantization)};
}

Result<QuantizationConfig> choose_quantization(const ModelDirectory& directory,
                                               const std::optional<QuantizationConfig>& asked) {
  const bool offline = directory.quantization.quantization_case() == QuantizationCase::kOffline;
  if (!asked) return directory.quantization;
  const bool asks_for_none = asked->quantization_case() == QuantizationCase::kNone;
  if (!offline) return *asked;
  if (asks_for_none) return directory.quantization;
  return fail(
      ErrorCode::kUnsupported,
      fmt::format("{}: its weights are quantized already (quantization_config: {}), so they run as they are "
                  "(scheme none) and cannot be quantized again",
                  directory.checkpoint.directory().string(), directory.quantization.method()),
      {directory.checkpoint.directory().string()});
}

Result<std::unique_ptr<LiveModel>> load_model(const ModelDirectory& directory, const LoadOptions& options) {
  LW_ASSIGN(auto plan, Plan::compile(directory.description, directory.catalog,
                                     {options.quantization, options.tensor_parallel, options.mode}));
  LW_ASSIGN(auto model, LiveModel::create(std::move(plan)));
  UpdateOptions update;
  update.label = options.label;
  LW_TRY(reload(*model, directory.checkpoint, options.names, update));
  return model;
}

Result<UpdateReport> reload(LiveModel& model, const Checkpoint& checkpoint, const NameMap& names,
                            const UpdateOptions& options) {
  LiveModel* const alone = &model;
  LW_ASSIGN(auto reports, reload(std::span(&alone, 1), checkpoint, names, options));
  return std::move(reports.front());
}

Result<std::vector<UpdateReport>> reload(std::span<LiveModel* const> ranks, const Checkpoint& checkpoint,
                                         const NameMap& names, const UpdateOptions& given) {
  UpdateOptions options = given;
  options.verify_source = [&checkpoint] { return checkpoint.check_unchanged(); };
  LW_ASSIGN(std::vector<Update> updates, begin_together(ranks, options));
  for (Update& update : updates) LW_TRY(update.borrow(checkpoint, names));
  return commit_together(updates);
}

Result<ModelDirectory> with_mirrored_weights(const ModelDirectory& directory, Mirror& mirror) {
  LW_TRY(mirror.settle());
  LW_ASSIGN(Checkpoint checkpoint, mirror.checkpoint());
  LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, {}));
  return ModelDirectory{directory.description, std::move(checkpoint), std::move(catalog),
                        directory.quantization};
}

}  // namespace liveweight
