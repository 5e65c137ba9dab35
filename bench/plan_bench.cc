#include "bench/plan_bench.h"

#include <fmt/format.h>

#include <optional>

#include "bench/rounds.h"
#include "liveweight/model.h"
#include "liveweight/plan.h"

namespace liveweight::bench {
namespace {

std::string config_of(int64_t layers, int64_t experts) {
  return fmt::format(
      R"({{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
 "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": {},
 "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
 "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "max_position_embeddings": 40960, "num_experts": {},
 "num_experts_per_tok": 8, "norm_topk_prob": true, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}})",
      layers, experts);
}

TensorCatalog catalog_of(const ModelDescription& model) {
  TensorCatalog catalog;
  for (const ParameterDescription& parameter : model.parameters) {
    for (const Member& member : parameter.members) catalog[member.name] = {DType::kBF16, member.shape};
  }
  return catalog;
}

}  // namespace

Result<PlanFigures> measure_plan(int64_t layers, int64_t experts, const std::string& scheme, int rounds) {
  LW_ASSIGN(const ModelConfig config, parse_model_config(config_of(layers, experts)));
  LW_ASSIGN(const ModelDescription model, describe_model(config));
  LW_ASSIGN(const Scheme parsed, parse_scheme(scheme));
  const TensorCatalog catalog = catalog_of(model);
  PlanOptions options;
  options.quantization = QuantizationConfig::uniform(parsed);
  PlanFigures figures;
  figures.tensors = static_cast<int64_t>(catalog.size());
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    std::optional<Result<std::shared_ptr<const Plan>>> plan;
    seconds.push_back(seconds_of([&] { plan = Plan::compile(model, catalog, options); }));
    LW_ASSIGN(const auto compiled, std::move(*plan));
    figures.parameters = static_cast<int64_t>(compiled->parameters().size());
  }
  figures.seconds = median(seconds);
  return figures;
}

}  // namespace liveweight::bench
