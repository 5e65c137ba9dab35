// The models that sequences of updates are tried on, and the weights that these bring.
#pragma once

#include <array>

#include "base/hash.h"
#include "fuzz/input.h"
#include "live/delivery.h"
#include "live/delta_fixture.h"

namespace liveweight::fuzz {

using testing::RandomModel;
using testing::Weights;

constexpr int kVersions = 3;  // of a model's weights

inline const std::array<const char*, 3> kConfigs = {
    R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "vocab_size": 9,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16"})",
    R"({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 8, "intermediate_size": 15, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 7,
        "tie_word_embeddings": false, "torch_dtype": "float32"})",
    R"({"architectures": ["MixtralForCausalLM"], "hidden_size": 9, "intermediate_size": 7, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 5, "num_local_experts": 2,
        "num_experts_per_tok": 1, "tie_word_embeddings": false, "torch_dtype": "float16"})"};

// A model's weights in three versions, and the checkpoints of those, for mirrors.
struct Content {
  RandomModel model;
  std::vector<Weights> versions;
  std::vector<Checkpoint> checkpoints;

  // Each version differs from the one before in some elements of some tensors.
  static Content make(const Scratch& scratch, size_t config) {
    Content content{RandomModel(kConfigs[config]), {}, {}};
    testing::Random random(1 + config);
    for (int version = 0; version < kVersions; ++version) {
      content.versions.push_back(version == 0 ? content.model.weights(random)
                                              : testing::changed(random, content.versions.back()));
      const auto directory = scratch.path() / fmt::format("{}-{}", config, version);
      content.checkpoints.push_back(testing::write_checkpoint(directory, content.versions.back()));
    }
    return content;
  }
};

// That under one scheme.
struct Subject {
  const RandomModel& model;
  const std::vector<Weights>& versions;
  const std::vector<Checkpoint>& checkpoints;
  PlanOptions options;
  std::map<std::array<uint8_t, 16>, Digest> known;

  Subject(const Content& content, size_t scheme)
      : model(content.model), versions(content.versions), checkpoints(content.checkpoints) {
    options.quantization = QuantizationConfig::uniform(testing::all_schemes()[scheme]);
  }

  // What a cold load of these weights gives.
  Digest cold(const Weights& weights) {
    Hasher hasher;
    for (const auto& [name, entry] : weights.tensors) hasher.add(entry.bytes);
    const auto [at, added] = known.try_emplace(hasher.finish());
    if (added) at->second = testing::cold_digest(model, weights, options);
    return at->second;
  }
};

}  // namespace liveweight::fuzz
