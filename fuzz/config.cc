// config.json: what is not refused describes a model whose parameters make sense and can be planned or are
// refused then.
#include "fuzz/input.h"
#include "liveweight/model.h"
#include "liveweight/plan.h"

namespace liveweight::fuzz {
namespace {

constexpr int64_t kMostParameters = 2000;  // larger models only cost time

void require_sensible(const ModelDescription& model) {
  for (const ParameterDescription& parameter : model.parameters) {
    require(parameter.rows > 0 && parameter.cols > 0 && parameter.matrices > 0, "a parameter has elements");
    require(!parameter.members.empty(), "a parameter has sources");
    int64_t rows = 0;
    for (const Member& member : parameter.members) rows += member.shape.empty() ? 1 : member.shape[0];
    require(rows == parameter.rows * parameter.matrices, "a parameter's sources are its rows");
  }
}

void plan(const ModelDescription& model) {
  TensorCatalog catalog;
  for (const ParameterDescription& parameter : model.parameters) {
    for (const Member& member : parameter.members) catalog[member.name] = {model.config.dtype, member.shape};
  }
  PlanOptions options;
  if (!model.config.quantization_config.empty()) {
    auto quantization = QuantizationConfig::parse(model.config.quantization_config);
    if (!quantization) return require_refusal(quantization.error());
    options.quantization = *quantization;
  }
  for (const int64_t ranks : {1, 3}) {
    options.tensor_parallel = {ranks, ranks - 1};
    const auto compiled = Plan::compile(model, catalog, options);
    if (!compiled) require_refusal(compiled.error());
  }
}

void check(std::string_view text) {
  auto config = parse_model_config(text);
  if (!config) return require_refusal(config.error());
  if (const Status generation = apply_generation_config(text, *config); !generation)
    require_refusal(generation.error());
  if (config->layers * (config->experts + 10) > kMostParameters) return;
  const auto model = describe_model(*config);
  if (!model) return require_refusal(model.error());
  require_sensible(*model);
  plan(*model);
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(liveweight::fuzz::text_of(data, size));
  return 0;
}
