// An architecture: what its configuration's absent fields mean, and how its parameters are named. One short
// file each.
#pragma once

#include <string>
#include <vector>

#include "liveweight/model.h"
#include "model/config_reader.h"

namespace liveweight {

// The defaults of transformers' configuration class, where a field is absent.
struct ArchitectureDefaults {
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  int64_t max_position = 2048;
  int64_t head_dim = 0;        // 0: hidden_size / heads
  int64_t sliding_window = 0;  // 0: none
  bool tied = false;
};

struct Architecture {
  std::string name;        // "LlamaForCausalLM"
  std::string model_type;  // "llama"
  ArchitectureDefaults defaults;
  // Reads what only this architecture has (biases, norms, experts); the common fields are there already.
  void (*configure)(ConfigReader& reader, ModelConfig& config) = nullptr;
  // Adds one layer's parameters.
  void (*add_layer)(const ModelConfig& config, int64_t layer,
                    std::vector<ParameterDescription>& parameters) = nullptr;
};

const std::vector<Architecture>& architectures();
Architecture llama_architecture();
Architecture mistral_architecture();
Architecture qwen2_architecture();
Architecture qwen3_architecture();
Architecture mixtral_architecture();
Architecture qwen3_moe_architecture();
Architecture phi3_architecture();

// What they are put together from. `prefix` is "model.layers.3.".
void add_attention(const ModelConfig& config, int64_t layer, const std::string& prefix,
                   std::vector<ParameterDescription>& parameters);
void add_layer_norms(const ModelConfig& config, int64_t layer, const std::string& prefix,
                     std::vector<ParameterDescription>& parameters);
void add_dense_mlp(const ModelConfig& config, int64_t layer, const std::string& prefix,
                   std::vector<ParameterDescription>& parameters);

// The names of one expert's three projections below `module` ("model.layers.0.mlp"), with {} for the expert's
// number.
struct ExpertNames {
  std::string module;
  const char* gate;
  const char* up;
  const char* down;
};
void add_experts(const ModelConfig& config, int64_t layer, const ExpertNames& names,
                 std::vector<ParameterDescription>& parameters);

// A parameter of one 1-D or 2-D tensor under its own name.
ParameterDescription plain_parameter(std::string name, Role role, int64_t layer, Shape shape, Cut cut);

// `layer_types` and the older fields of sliding windows, as transformers reads them.
void read_sliding_windows(ConfigReader& reader, ModelConfig& config, int64_t window, bool by_layer);

}  // namespace liveweight
