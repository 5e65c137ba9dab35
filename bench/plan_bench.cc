#include "bench/plan_bench.h"

#include "bench/synthetic_experts.h"

#include <optional>

#include "bench/rounds.h"
#include "liveweight/model.h"
#include "liveweight/plan.h"

namespace liveweight::bench {
namespace {

TensorCatalog catalog_of(const ModelDescription& model) {
  TensorCatalog catalog;
  for (const ParameterDescription& parameter : model.parameters) {
    for (const Member& member : parameter.members) catalog[member.name] = {DType::kBF16, member.shape};
  }
  return catalog;
}

}  // namespace

Result<PlanFigures> measure_plan(int64_t layers, int64_t experts, const std::string& scheme, int rounds) {
  LW_ASSIGN(const ModelConfig config, parse_model_config(config_of(SyntheticExperts{layers, experts})));
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
