// Small random models and weights for tests: every architecture, odd sizes, every dtype of a trainer. All of
// it follows from a seed.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "live/property.h"
#include "liveweight/digest.h"
#include "liveweight/live_model.h"
#include "liveweight/update.h"
#include "tensor/codec.h"

namespace liveweight::testing {

template <typename List>
auto& one_of(Random& random, List& list) {
  return list[static_cast<size_t>(between(random, 0, static_cast<int64_t>(std::size(list)) - 1))];
}

// The tensors of one version by checkpoint name.
struct Weights {
  struct Entry {
    DType dtype;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Entry> tensors;

  TensorView view(const std::string& name) const {
    const Entry& entry = tensors.at(name);
    return {entry.dtype, entry.shape, entry.bytes.data(), entry.bytes.size()};
  }
  TensorCatalog catalog() const {
    TensorCatalog catalog;
    for (const auto& [name, entry] : tensors) catalog[name] = {entry.dtype, entry.shape};
    return catalog;
  }
  void set(const std::string& name, int64_t element, float value) {
    Entry& entry = tensors.at(name);
    store_high_precision(entry.dtype, entry.bytes.data(), element, value);
  }
};

// config.json of a small Llama of bf16: its two heads share one of keys and values, its head the embedding.
inline std::string one_layer_llama(int64_t hidden = 16, int64_t intermediate = 24, int64_t head_dim = 8) {
  return fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "hidden_size": {}, "intermediate_size": {},
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": {},
          "vocab_size": 32, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}})",
      hidden, intermediate, head_dim);
}

class RandomModel {
 public:
  // `heads` is also the largest tensor-parallel size that fits.
  explicit RandomModel(Random& random, int64_t heads = 4) {
    constexpr const char* kArchitectures[] = {
        "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",   "Qwen3ForCausalLM",
        "Phi3ForCausalLM",  "MixtralForCausalLM", "Qwen3MoeForCausalLM"};
    constexpr const char* kDTypes[] = {"bfloat16", "float16", "float32"};
    const int64_t head_dim = 2 * between(random, 1, 20), kv_heads = heads / between(random, 1, 2);
    const bool tied = between(random, 0, 1) == 1;
    text_ = fmt::format(
        R"({{"architectures": ["{}"], "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
 "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {}, "vocab_size": {},
 "tie_word_embeddings": {}, "torch_dtype": "{}", "num_local_experts": 3, "num_experts": 3,
 "num_experts_per_tok": 2, "moe_intermediate_size": {}, "max_position_embeddings": 64}})",
        one_of(random, kArchitectures), between(random, 8, 300), between(random, 8, 300),
        between(random, 1, 2), heads, kv_heads, head_dim, between(random, 8, 150), tied,
        one_of(random, kDTypes), between(random, 8, 150));
    describe();
  }
  // Of one config.json, with random weights.
  explicit RandomModel(std::string config) : text_(std::move(config)) { describe(); }

  const ModelDescription& description() const { return description_; }
  const std::string& text() const { return text_; }

  Weights weights(Random& random) const {
    Weights weights;
    std::normal_distribution<float> normal(0, 0.05f);
    for (const ParameterDescription& parameter : description_.parameters) {
      for (const Member& member : parameter.members) {
        const int64_t count = element_count(member.shape);
        const DType dtype = description_.config.dtype;
        auto& entry = weights.tensors[member.name];
        entry = {dtype, member.shape, std::vector<std::byte>(count * bits_of(dtype) / 8)};
        const int64_t odd = between(random, 0, 9);
        for (int64_t i = 0; i < count; ++i) {
          const bool zero = odd == 0 || (odd == 1 && i % 7 != 0);
          weights.set(member.name, i, zero ? (i % 2 ? 0.0f : -0.0f) : normal(random));
        }
      }
    }
    return weights;
  }

 private:
  void describe() {
    auto config = parse_model_config(text_);
    if (!config) throw std::runtime_error(config.error().message + " in " + text_);
    description_ = describe_model(*config).value();
  }

  std::string text_;
  ModelDescription description_;
};

// Every scheme under every profile that it has.
inline std::vector<Scheme> all_schemes() {
  std::vector<Scheme> all = {Scheme{}};
  for (const char* name : {"int8_per_channel", "int8_per_tensor", "int4_per_group", "int4_per_group:7",
                           "fp8_per_tensor", "fp8_per_channel", "fp8_per_block"}) {
    Scheme scheme = parse_scheme(name).value();
    for (const Profile profile : profiles_of(scheme.element, scheme.granularity)) {
      scheme.profile = profile;
      all.push_back(scheme);
    }
  }
  return all;
}

inline Result<std::unique_ptr<LiveModel>> make_model(const RandomModel& model, const TensorCatalog& catalog,
                                                     const PlanOptions& options) {
  auto plan = Plan::compile(model.description(), catalog, options);
  if (!plan) return tl::unexpected(plan.error());
  return LiveModel::create(std::move(*plan));
}

// Whole tensors in the order of their names.
inline Result<UpdateReport> put_all(LiveModel& live, const Weights& weights, UpdateOptions options = {}) {
  auto update = live.begin_update(std::move(options));
  if (!update) return tl::unexpected(update.error());
  for (const auto& [name, entry] : weights.tensors) LW_TRY(update->borrow(name, weights.view(name)));
  return update->commit();
}

inline Digest cold_digest(const RandomModel& model, const Weights& weights, PlanOptions options) {
  options.mode = CommitMode::kInPlace;
  auto live = make_model(model, weights.catalog(), options);
  if (!live) throw std::runtime_error(live.error().message);
  const auto report = put_all(**live, weights);
  if (!report) throw std::runtime_error(report.error().message);
  return digest_of(**live)->model;
}

inline std::vector<const std::byte*> addresses_of(const LiveModel& live) {
  std::vector<const std::byte*> addresses;
  for (size_t p = 0; p < live.plan().parameters().size(); ++p) {
    for (const int slot : {0, 1}) addresses.push_back(live.slot_address(static_cast<int64_t>(p), slot));
  }
  return addresses;
}

}  // namespace liveweight::testing
