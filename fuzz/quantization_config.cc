// quantization_config, and what --quant-config reads: what is not refused gives every module a scheme that
// has a name.
#include "liveweight/quantization_config.h"
#include "fuzz/input.h"

namespace liveweight::fuzz {
namespace {

constexpr const char* kModules[] = {"model.layers.0.self_attn.q_proj",
                                    "model.layers.1.mlp.experts.3.down_proj", "model.embed_tokens",
                                    "lm_head"};
constexpr ModuleKind kKinds[] = {ModuleKind::kLinear,    ModuleKind::kExpert, ModuleKind::kHead,
                                 ModuleKind::kEmbedding, ModuleKind::kRouter, ModuleKind::kOther};

void require_schemes(const QuantizationConfig& config) {
  for (const char* module : kModules) {
    for (const ModuleKind kind : kKinds) {
      const auto scheme = config.scheme_for(module, kind);
      if (!scheme) {
        require_refusal(scheme.error());
        continue;
      }
      const auto again = parse_scheme(to_string(*scheme));
      require(again && *again == *scheme,
              fmt::format("a scheme is what its name says: {}", to_string(*scheme)));
    }
  }
}

void check(std::string_view text) {
  for (const bool torchao_serialized : {false, true}) {
    const auto config = QuantizationConfig::parse(text, torchao_serialized);
    if (!config) {
      require_refusal(config.error());
      continue;
    }
    require(!config->method().empty() && !to_string(config->quantization_case()).empty(),
            "a configuration says what it is");
    require_schemes(*config);
  }
  if (const auto scheme = parse_scheme(text)) {
    require(parse_scheme(to_string(*scheme)) == *scheme, "a scheme is what its name says");
  }
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(liveweight::fuzz::text_of(data, size));
  return 0;
}
