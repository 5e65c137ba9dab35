// Which scheme each module has: from one name, from `--quant-config FILE`, or from config.json's
// `quantization_config`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "liveweight/error.h"
#include "liveweight/scheme.h"

namespace liveweight {

// What a module is, as far as a configuration's defaults care: linear layers and experts are quantized;
// heads, embeddings and routers only where the configuration names them; norms never.
enum class ModuleKind : uint8_t { kLinear, kExpert, kHead, kEmbedding, kRouter, kOther };

// Told from the configuration, never from a tensor's name: high precision as it is; weights already quantized
// in the checkpoint; or high-precision weights to be quantized while loading.
enum class QuantizationCase : uint8_t { kNone, kOffline, kOnline };
std::string_view to_string(QuantizationCase quantization_case);  // "none", "offline", "online"

class QuantizationConfig {
 public:
  QuantizationConfig();  // nothing is quantized

  // One scheme for all linear layers and experts.
  static QuantizationConfig uniform(const Scheme& scheme);

  // JSON of any of the spellings that docs/quantization.md lists, told apart by their keys. `kUnsupported`
  // names a method that is not read; other errors name the field. torchao's own files do not say in the
  // configuration whether the weights are quantized already; `torchao_serialized` is what to take then.
  static Result<QuantizationConfig> parse(std::string_view json, bool torchao_serialized = false);

  QuantizationCase quantization_case() const;
  std::string method() const;  // "fp8", "compressed-tensors", "torchao", "online", or "none"

  // The scheme of a module by its checkpoint name, unfused: "model.layers.0.self_attn.q_proj".
  Result<Scheme> scheme_for(const std::string& module, ModuleKind kind) const;

  struct Rules;

 private:
  std::shared_ptr<const Rules> rules_;
};

}  // namespace liveweight
