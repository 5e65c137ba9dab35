// Qwen2 (biases on q, k and v), Qwen3 (norms on q and k), and Qwen3-MoE (routed experts in some layers).
#include <fmt/format.h>

#include "model/architecture.h"

namespace liveweight {
namespace {

// Windows apply only where use_sliding_window says so, from layer max_window_layers on.
void read_qwen_windows(ConfigReader& reader, ModelConfig& config) {
  constexpr int64_t kDefaultWindow = 4096, kDefaultFirst = 28;
  const bool used = reader.flag("use_sliding_window", false);
  const int64_t window = used ? reader.count("sliding_window", kDefaultWindow) : 0;
  const int64_t first = reader.count("max_window_layers", kDefaultFirst, 0);
  read_sliding_windows(reader, config, window, true);
  if (reader.has("layer_types")) return;
  for (int64_t layer = first; layer < config.layers; ++layer) config.sliding_window[layer] = window;
}

void configure_qwen2(ConfigReader& reader, ModelConfig& config) {
  config.qkv_bias = true;
  read_qwen_windows(reader, config);
}

void configure_qwen3(ConfigReader& reader, ModelConfig& config) {
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  config.qk_norm = true;
  read_qwen_windows(reader, config);
}

void read_sparse_layers(ConfigReader& reader, ModelConfig& config) {
  const int64_t step = reader.count("decoder_sparse_step", 1);
  config.sparse_layer.assign(static_cast<size_t>(config.layers), false);
  for (int64_t layer = 0; layer < config.layers; ++layer)
    config.sparse_layer[layer] = (layer + 1) % step == 0;
  const auto dense = reader.object().find("mlp_only_layers");
  if (dense == reader.object().end() || dense->is_null()) return;
  if (!dense->is_array()) return reader.reject("mlp_only_layers", "a list of layers");
  for (const auto& layer : *dense) {
    if (!layer.is_number_unsigned()) return reader.reject("mlp_only_layers", "a list of layers");
    if (layer.get<uint64_t>() < config.sparse_layer.size()) config.sparse_layer[layer.get<size_t>()] = false;
  }
}

void configure_qwen3_moe(ConfigReader& reader, ModelConfig& config) {
  configure_qwen3(reader, config);
  const int64_t window = reader.flag("use_sliding_window", false) ? reader.count("sliding_window", 4096) : 0;
  config.sliding_window.assign(static_cast<size_t>(config.layers), window);
  constexpr int64_t kMostExperts = 65536;
  config.experts =
      reader.count("num_experts", reader.count("num_local_experts", 128, 1, kMostExperts), 1, kMostExperts);
  config.experts_per_token = reader.count("num_experts_per_tok", 8, 1, config.experts);
  config.expert_intermediate_size = reader.count("moe_intermediate_size", 768);
  config.normalize_expert_weights = reader.flag("norm_topk_prob", false);
  read_sparse_layers(reader, config);
}

void add_layer(const ModelConfig& config, int64_t layer, std::vector<ParameterDescription>& parameters) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  add_layer_norms(config, layer, prefix, parameters);
  add_attention(config, layer, prefix, parameters);
  if (config.experts > 0 && config.sparse_layer[layer]) {
    add_experts(config, layer, {prefix + "mlp", "gate_proj", "up_proj", "down_proj"}, parameters);
  } else {
    add_dense_mlp(config, layer, prefix, parameters);
  }
}

ArchitectureDefaults qwen_defaults() {
  ArchitectureDefaults defaults;
  defaults.max_position = 32768;
  return defaults;
}

}  // namespace

Architecture qwen2_architecture() {
  return {"Qwen2ForCausalLM", "qwen2", qwen_defaults(), configure_qwen2, add_layer};
}

Architecture qwen3_architecture() {
  ArchitectureDefaults defaults = qwen_defaults();
  defaults.head_dim = 128;
  return {"Qwen3ForCausalLM", "qwen3", defaults, configure_qwen3, add_layer};
}

Architecture qwen3_moe_architecture() {
  return {"Qwen3MoeForCausalLM", "qwen3_moe", qwen_defaults(), configure_qwen3_moe, add_layer};
}

}  // namespace liveweight
