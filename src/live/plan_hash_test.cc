// Equal plans and only they have equal hashes; so have models their digests.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "live/random_model.h"

namespace liveweight::testing {
namespace {

RandomModel model_of(const char* architecture, int hidden, bool tied) {
  return RandomModel(fmt::format(
      R"({{"architectures": ["{}"], "hidden_size": {}, "intermediate_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "vocab_size": 64,
          "tie_word_embeddings": {}, "torch_dtype": "bfloat16"}})",
      architecture, hidden, tied));
}

std::string hash_of(const RandomModel& model, const PlanOptions& options, DType dtype = DType::kBF16) {
  Random random(1);
  TensorCatalog catalog = model.weights(random).catalog();
  for (auto& [name, facts] : catalog) facts.dtype = dtype;
  return Plan::compile(model.description(), catalog, options).value()->hash();
}

TEST(PlanHash, TellsEveryChoiceApart) {
  const RandomModel llama = model_of("LlamaForCausalLM", 32, true);
  std::set<std::string> hashes;
  size_t plans = 0;
  const auto add = [&](const std::string& hash) {
    hashes.insert(hash);
    EXPECT_EQ(hashes.size(), ++plans);
  };
  add(hash_of(llama, {}));
  EXPECT_EQ(hash_of(llama, {}), *hashes.begin());
  add(hash_of(llama, {}, DType::kF16));
  add(hash_of(model_of("MistralForCausalLM", 32, true), {}));
  add(hash_of(model_of("LlamaForCausalLM", 32, false), {}));
  add(hash_of(model_of("LlamaForCausalLM", 40, true), {}));
  PlanOptions options;
  for (const CommitMode mode : {CommitMode::kCopy, CommitMode::kInPlace}) {
    options.mode = mode;
    add(hash_of(llama, options));
  }
  options.mode = CommitMode::kFlip;
  for (const int64_t size : {2, 4}) {
    options.tensor_parallel.size = size;
    for (const int64_t rank : {0, 1}) {
      options.tensor_parallel.rank = rank;
      add(hash_of(llama, options));
    }
  }
  options.tensor_parallel = {};
  for (const char* scheme : {"int8_per_channel", "int8_per_channel@vllm", "fp8_per_channel", "fp8_per_tensor",
                             "int4_per_group:16", "int4_per_group:32"}) {
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    add(hash_of(llama, options));
  }
}

TEST(PlanHash, SaysWhatASecondSlotTakes) {
  const RandomModel llama = model_of("LlamaForCausalLM", 32, true);
  Random random(1);
  const TensorCatalog catalog = llama.weights(random).catalog();
  PlanOptions options;
  uint64_t extra[3];
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace}) {
    options.mode = mode;
    const auto plan = Plan::compile(llama.description(), catalog, options).value();
    extra[static_cast<int>(mode)] = plan->extra_peak_bytes();
  }
  EXPECT_EQ(extra[0], extra[1]);
  options.mode = CommitMode::kFlip;
  EXPECT_EQ(extra[0] - extra[2], Plan::compile(llama.description(), catalog, options).value()->live_bytes());
}

TEST(PlanHash, ARankOutsideItsGroupIsRefused) {
  const RandomModel llama = model_of("LlamaForCausalLM", 32, true);
  Random random(1);
  const TensorCatalog catalog = llama.weights(random).catalog();
  for (const auto& [size, rank] : {std::pair{2, 2}, {2, -1}, {0, 0}, {-1, -2}}) {
    PlanOptions options;
    options.tensor_parallel = {size, rank};
    const auto plan = Plan::compile(llama.description(), catalog, options);
    ASSERT_FALSE(plan) << size << " " << rank;
    EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(ModelDigest, TellsEachParametersSchemeShapeAndBytesApart) {
  Random random(1);
  const RandomModel llama = model_of("LlamaForCausalLM", 32, true);
  const Weights weights = llama.weights(random);
  const auto digest = [&](const char* scheme, const Weights& of) {
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    const auto live = make_model(llama, of.catalog(), options).value();
    EXPECT_TRUE(put_all(*live, of));
    return digest_of(*live)->tensors;
  };
  const auto of = [](const std::vector<std::pair<std::string, Digest>>& all, const char* name) {
    return std::find_if(all.begin(), all.end(), [&](const auto& tensor) { return tensor.first == name; })
        ->second;
  };
  const char* const kNorms[] = {"model.layers.0.input_layernorm.weight", "model.norm.weight"};
  Weights ones = weights;
  for (const char* name : kNorms) {
    for (int64_t i = 0; i < 32; ++i) ones.set(name, i, 1.0f);
  }
  const auto before = digest("none", ones);
  EXPECT_EQ(of(before, kNorms[0]), of(before, kNorms[1])) << "equal tensors have equal digests";
  Weights last = ones;
  last.set(kNorms[1], 31, 1.0078125f);
  EXPECT_NE(of(digest("none", last), kNorms[1]), of(before, kNorms[1])) << "the last byte counts";
  // All zeros: the same bytes under two rules that store them alike.
  Weights zeros = weights;
  for (auto& [name, entry] : zeros.tensors) std::fill(entry.bytes.begin(), entry.bytes.end(), std::byte{0});
  const char* const kDown = "model.layers.0.mlp.down_proj.weight";
  EXPECT_NE(of(digest("fp8_per_block@verl", zeros), kDown), of(digest("fp8_per_block@nemo", zeros), kDown));
  Weights halves = zeros;
  for (auto& [name, entry] : halves.tensors) entry.dtype = DType::kF16;
  EXPECT_NE(of(digest("none", zeros), kDown), of(digest("none", halves), kDown));
}

}  // namespace
}  // namespace liveweight::testing
