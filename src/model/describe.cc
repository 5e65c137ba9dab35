#include "liveweight/model.h"
#include "model/architecture.h"

namespace liveweight {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> all = {
      llama_architecture(),   mistral_architecture(),   qwen2_architecture(), qwen3_architecture(),
      mixtral_architecture(), qwen3_moe_architecture(), phi3_architecture()};
  return all;
}

Result<ModelDescription> describe_model(const ModelConfig& config) {
  const Architecture* architecture = nullptr;
  for (const Architecture& known : architectures()) {
    if (known.name == config.architecture) architecture = &known;
  }
  if (!architecture)
    return fail(ErrorCode::kUnsupported, "architecture " + config.architecture + " is not supported");
  ModelDescription model;
  model.config = config;
  const Shape vocabulary{config.vocab_size, config.hidden_size};
  auto& parameters = model.parameters;
  parameters.push_back(
      plain_parameter("model.embed_tokens.weight", Role::kEmbedding, -1, vocabulary, Cut::kRows));
  for (int64_t layer = 0; layer < config.layers; ++layer) architecture->add_layer(config, layer, parameters);
  parameters.push_back(
      plain_parameter("model.norm.weight", Role::kFinalNorm, -1, {config.hidden_size}, Cut::kReplicated));
  parameters.push_back(plain_parameter("lm_head.weight", Role::kHead, -1, vocabulary, Cut::kRows));
  if (config.tied) {
    parameters.back().members[0].name = "model.embed_tokens.weight";
    model.aliases.emplace_back("lm_head.weight", "model.embed_tokens.weight");
  }
  return model;
}

}  // namespace liveweight
