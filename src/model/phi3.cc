// Phi-3: the checkpoint itself holds q, k, v and gate, up fused, so one tensor has several ranges that ranks
// cut apart.
#include <fmt/format.h>

#include "model/architecture.h"

namespace liveweight {
namespace {

void configure(ConfigReader& reader, ModelConfig& config) {
  read_sliding_windows(reader, config, reader.count("sliding_window", 0), false);
}

ParameterDescription fused(std::string name, Role role, int64_t layer, int64_t cols,
                           std::vector<RowRange> ranges) {
  int64_t rows = 0;
  for (const RowRange& range : ranges) rows += range.rows;
  ParameterDescription parameter = plain_parameter(std::move(name), role, layer, {rows, cols}, Cut::kRows);
  parameter.members[0].ranges = std::move(ranges);
  return parameter;
}

void add_layer(const ModelConfig& config, int64_t layer, std::vector<ParameterDescription>& parameters) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t queries = config.heads * config.head_dim, keys = config.kv_heads * config.head_dim;
  add_layer_norms(config, layer, prefix, parameters);
  parameters.push_back(fused(
      prefix + "self_attn.qkv_proj.weight", Role::kQkv, layer, hidden,
      {{queries, config.head_dim, false}, {keys, config.head_dim, true}, {keys, config.head_dim, true}}));
  parameters.push_back(plain_parameter(prefix + "self_attn.o_proj.weight", Role::kOutput, layer,
                                       {hidden, queries}, Cut::kCols));
  parameters.push_back(fused(prefix + "mlp.gate_up_proj.weight", Role::kGateUp, layer, hidden,
                             {{inner, 1, false}, {inner, 1, false}}));
  parameters.push_back(
      plain_parameter(prefix + "mlp.down_proj.weight", Role::kDown, layer, {hidden, inner}, Cut::kCols));
}

}  // namespace

Architecture phi3_architecture() {
  ArchitectureDefaults defaults;
  defaults.rms_norm_eps = 1e-5;
  defaults.max_position = 4096;
  return {"Phi3ForCausalLM", "phi3", defaults, configure, add_layer};
}

}  // namespace liveweight
