#include <fmt/format.h>

#include "model/architecture.h"

namespace liveweight {
namespace {

RowRange query_rows(const ModelConfig& config) {
  return {config.heads * config.head_dim, config.head_dim, false};
}
RowRange key_rows(const ModelConfig& config) {
  return {config.kv_heads * config.head_dim, config.head_dim, true};
}

Member member_of(std::string name, const RowRange& rows, int64_t cols, int rank) {
  return {std::move(name), rank == 1 ? Shape{rows.rows} : Shape{rows.rows, cols}, 0, {rows}};
}

// q, k and v stacked: weights [rows, cols], or biases [rows] where the rank is 1.
ParameterDescription fused_qkv(const ModelConfig& config, int64_t layer, const std::string& module,
                               const std::string& suffix, int rank) {
  ParameterDescription parameter;
  parameter.name = fmt::format("{}.qkv_proj.{}", module, suffix);
  parameter.role = rank == 1 ? Role::kQkvBias : Role::kQkv;
  parameter.layer = layer;
  parameter.rank = rank;
  parameter.cols = rank == 1 ? 1 : config.hidden_size;
  parameter.cut = Cut::kRows;
  const std::pair<const char*, RowRange> members[] = {
      {"q_proj", query_rows(config)}, {"k_proj", key_rows(config)}, {"v_proj", key_rows(config)}};
  for (const auto& [projection, rows] : members) {
    parameter.members.push_back(
        member_of(fmt::format("{}.{}.{}", module, projection, suffix), rows, parameter.cols, rank));
    parameter.rows += rows.rows;
  }
  return parameter;
}

ParameterDescription fused_gate_up(const ModelConfig& config, int64_t layer, const std::string& module,
                                   const std::string& suffix, int rank) {
  ParameterDescription parameter;
  parameter.name = fmt::format("{}.gate_up_proj.{}", module, suffix);
  parameter.role = rank == 1 ? Role::kGateUpBias : Role::kGateUp;
  parameter.layer = layer;
  parameter.rank = rank;
  parameter.rows = 2 * config.intermediate_size;
  parameter.cols = rank == 1 ? 1 : config.hidden_size;
  parameter.cut = Cut::kRows;
  for (const char* projection : {"gate_proj", "up_proj"}) {
    parameter.members.push_back(member_of(fmt::format("{}.{}.{}", module, projection, suffix),
                                          {config.intermediate_size, 1, false}, parameter.cols, rank));
  }
  return parameter;
}

}  // namespace

ParameterDescription plain_parameter(std::string name, Role role, int64_t layer, Shape shape, Cut cut) {
  ParameterDescription parameter;
  parameter.name = name;
  parameter.role = role;
  parameter.layer = layer;
  parameter.rank = static_cast<int>(shape.size());
  parameter.rows = shape[0];
  parameter.cols = shape.size() == 1 ? 1 : shape[1];
  parameter.cut = cut;
  parameter.members.push_back({std::move(name), std::move(shape), 0, {{parameter.rows, 1, false}}});
  return parameter;
}

void add_attention(const ModelConfig& config, int64_t layer, const std::string& prefix,
                   std::vector<ParameterDescription>& parameters) {
  const std::string module = prefix + "self_attn";
  parameters.push_back(fused_qkv(config, layer, module, "weight", 2));
  if (config.qkv_bias) parameters.push_back(fused_qkv(config, layer, module, "bias", 1));
  if (config.qk_norm) {
    const Shape head{config.head_dim};
    parameters.push_back(
        plain_parameter(module + ".q_norm.weight", Role::kQueryNorm, layer, head, Cut::kReplicated));
    parameters.push_back(
        plain_parameter(module + ".k_norm.weight", Role::kKeyNorm, layer, head, Cut::kReplicated));
  }
  const Shape output{config.hidden_size, config.heads * config.head_dim};
  parameters.push_back(plain_parameter(module + ".o_proj.weight", Role::kOutput, layer, output, Cut::kCols));
  if (config.output_bias) {
    parameters.push_back(plain_parameter(module + ".o_proj.bias", Role::kOutputBias, layer,
                                         {config.hidden_size}, Cut::kReplicated));
  }
}

void add_layer_norms(const ModelConfig& config, int64_t layer, const std::string& prefix,
                     std::vector<ParameterDescription>& parameters) {
  const Shape shape{config.hidden_size};
  parameters.push_back(
      plain_parameter(prefix + "input_layernorm.weight", Role::kInputNorm, layer, shape, Cut::kReplicated));
  parameters.push_back(plain_parameter(prefix + "post_attention_layernorm.weight", Role::kPostNorm, layer,
                                       shape, Cut::kReplicated));
}

void add_dense_mlp(const ModelConfig& config, int64_t layer, const std::string& prefix,
                   std::vector<ParameterDescription>& parameters) {
  const std::string module = prefix + "mlp";
  parameters.push_back(fused_gate_up(config, layer, module, "weight", 2));
  if (config.mlp_bias) parameters.push_back(fused_gate_up(config, layer, module, "bias", 1));
  const Shape down{config.hidden_size, config.intermediate_size};
  parameters.push_back(plain_parameter(module + ".down_proj.weight", Role::kDown, layer, down, Cut::kCols));
  if (config.mlp_bias) {
    parameters.push_back(plain_parameter(module + ".down_proj.bias", Role::kDownBias, layer,
                                         {config.hidden_size}, Cut::kReplicated));
  }
}

void add_experts(const ModelConfig& config, int64_t layer, const ExpertNames& names,
                 std::vector<ParameterDescription>& parameters) {
  const int64_t hidden = config.hidden_size, inner = config.expert_intermediate_size;
  parameters.push_back(plain_parameter(names.module + ".gate.weight", Role::kRouter, layer,
                                       {config.experts, hidden}, Cut::kReplicated));
  ParameterDescription gate_up{names.module + ".experts.w13_weight",
                               Role::kExpertsGateUp,
                               layer,
                               config.experts,
                               2 * inner,
                               hidden,
                               2,
                               Cut::kRows,
                               {}};
  ParameterDescription down{names.module + ".experts.w2_weight",
                            Role::kExpertsDown,
                            layer,
                            config.experts,
                            hidden,
                            inner,
                            2,
                            Cut::kCols,
                            {}};
  for (int64_t expert = 0; expert < config.experts; ++expert) {
    const std::string module = fmt::format("{}.experts.{}.", names.module, expert);
    for (const char* name : {names.gate, names.up}) {
      gate_up.members.push_back(
          {fmt::format("{}{}.weight", module, name), {inner, hidden}, expert, {{inner, 1, false}}});
    }
    down.members.push_back(
        {fmt::format("{}{}.weight", module, names.down), {hidden, inner}, expert, {{hidden, 1, false}}});
  }
  parameters.push_back(std::move(gate_up));
  parameters.push_back(std::move(down));
}

void read_sliding_windows(ConfigReader& reader, ModelConfig& config, int64_t window, bool by_layer) {
  config.sliding_window.assign(static_cast<size_t>(config.layers), by_layer ? 0 : window);
  const auto types = reader.object().find("layer_types");
  if (types == reader.object().end() || types->is_null()) return;
  if (!types->is_array() || types->size() != static_cast<size_t>(config.layers)) {
    reader.reject("layer_types", fmt::format("a list of {} layers", config.layers));
    return;
  }
  for (size_t i = 0; i < types->size(); ++i) {
    const bool sliding = (*types)[i] == "sliding_attention";
    if (!sliding && (*types)[i] != "full_attention")
      reader.reject("layer_types", "full_attention or sliding_attention");
    config.sliding_window[i] = sliding ? window : 0;
  }
}

}  // namespace liveweight
