// Mixtral: Mistral's attention, routed experts in every layer.
#include <fmt/format.h>

#include "model/architecture.h"

namespace liveweight {
namespace {

void configure(ConfigReader& reader, ModelConfig& config) {
  constexpr int64_t kMostExperts = 65536;
  read_sliding_windows(reader, config, reader.count("sliding_window", 0), false);
  config.experts = reader.count("num_local_experts", 8, 1, kMostExperts);
  config.experts_per_token = reader.count("num_experts_per_tok", 2, 1, config.experts);
  config.expert_intermediate_size = config.intermediate_size;
  config.normalize_expert_weights = true;
  config.sparse_layer.assign(static_cast<size_t>(config.layers), true);
}

void add_layer(const ModelConfig& config, int64_t layer, std::vector<ParameterDescription>& parameters) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  add_layer_norms(config, layer, prefix, parameters);
  add_attention(config, layer, prefix, parameters);
  add_experts(config, layer, {prefix + "block_sparse_moe", "w1", "w3", "w2"}, parameters);
}

}  // namespace

Architecture mixtral_architecture() {
  ArchitectureDefaults defaults;
  defaults.rms_norm_eps = 1e-5;
  defaults.rope_theta = 1e6;
  defaults.max_position = 131072;
  return {"MixtralForCausalLM", "mixtral", defaults, configure, add_layer};
}

}  // namespace liveweight
