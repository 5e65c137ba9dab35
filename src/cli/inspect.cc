#include <fmt/format.h>

#include "cli/command.h"

namespace liveweight::cli {
namespace {

int64_t elements_of(const ModelDescription& model) {
  int64_t elements = 0;
  for (const ParameterDescription& parameter : model.parameters) {
    const bool tied_head = parameter.role == Role::kHead && model.config.tied;
    if (!tied_head) elements += parameter.matrices * parameter.rows * parameter.cols;
  }
  return elements;
}

Outcome describe(const ModelDirectory& directory) {
  Outcome out;
  uint64_t bytes = 0;
  Json tensors = Json::array();
  for (const CheckpointTensor& tensor : directory.checkpoint.tensors()) {
    bytes += tensor.view.bytes;
    tensors.push_back({{"name", tensor.name},
                       {"dtype", to_string(tensor.view.dtype)},
                       {"shape", tensor.view.shape},
                       {"bytes", tensor.view.bytes},
                       {"file", tensor.file}});
  }
  Json tied = Json::array();
  for (const auto& [alias, primary] : directory.description.aliases) tied.push_back({alias, primary});
  const ModelConfig& config = directory.description.config;
  const std::string_view quantization = to_string(directory.quantization.quantization_case());
  out.json = {{"architecture", config.architecture},
              {"dtype", to_string(config.dtype)},
              {"parameters", elements_of(directory.description)},
              {"bytes", bytes},
              {"tied", tied},
              {"quantization", {{"case", quantization}, {"method", directory.quantization.method()}}},
              {"tensors", tensors}};
  out.text = fmt::format("{}, {}, {} parameters, {} in {} tensors; quantization: {}{}\n", config.architecture,
                         to_string(config.dtype), elements_of(directory.description), human_bytes(bytes),
                         tensors.size(), quantization,
                         quantization == "none" ? "" : " (" + directory.quantization.method() + ")");
  for (const CheckpointTensor& tensor : directory.checkpoint.tensors()) {
    out.text += fmt::format("  {:<56} {:<8} {:<16} {:>10}  {}\n", tensor.name, to_string(tensor.view.dtype),
                            to_string(tensor.view.shape), human_bytes(tensor.view.bytes), tensor.file);
  }
  return out;
}

}  // namespace

Run add_inspect(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  add_path(app, "DIR", *directory, "Hugging Face directory")->required();
  return [directory]() -> Result<Outcome> {
    LW_ASSIGN(const ModelDirectory opened, open_model_directory(*directory));
    return describe(opened);
  };
}

}  // namespace liveweight::cli
