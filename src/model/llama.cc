// Llama, and Mistral, which is Llama with a sliding window.
#include <fmt/format.h>

#include "model/architecture.h"

namespace liveweight {
namespace {

void configure_llama(ConfigReader& reader, ModelConfig& config) {
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  config.mlp_bias = reader.flag("mlp_bias", false);
  config.sliding_window.assign(static_cast<size_t>(config.layers), 0);
}

void configure_mistral(ConfigReader& reader, ModelConfig& config) {
  constexpr int64_t kDefaultWindow = 4096;
  const bool given = reader.object().contains("sliding_window");
  const int64_t window = reader.count("sliding_window", given ? 0 : kDefaultWindow);
  read_sliding_windows(reader, config, window, false);
}

void add_dense_layer(const ModelConfig& config, int64_t layer,
                     std::vector<ParameterDescription>& parameters) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  add_layer_norms(config, layer, prefix, parameters);
  add_attention(config, layer, prefix, parameters);
  add_dense_mlp(config, layer, prefix, parameters);
}

}  // namespace

Architecture llama_architecture() {
  return {"LlamaForCausalLM", "llama", {}, configure_llama, add_dense_layer};
}

Architecture mistral_architecture() {
  ArchitectureDefaults defaults;
  defaults.max_position = 131072;
  return {"MistralForCausalLM", "mistral", defaults, configure_mistral, add_dense_layer};
}

}  // namespace liveweight
