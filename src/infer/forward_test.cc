// The forward pass against Hugging Face transformers' logits and greedy tokens.
#include <algorithm>
#include <cmath>

#include "infer/live_fixture.h"

namespace liveweight {
namespace {

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

float largest_magnitude(const std::vector<float>& values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

class ForwardTest : public LiveTest, public testing::WithParamInterface<const char*> {};

TEST_P(ForwardTest, logits_and_greedy_tokens_equal_transformers) {
  const std::string name = std::string("tiny/") + GetParam();
  const auto model = load(name, "none");
  const auto engine = engine_of(*model);
  const auto prompt = expected<int32_t>(name + ".expected.safetensors", "input_ids");
  const auto logits = expected<float>(name + ".expected.safetensors", "logits");
  EXPECT_LT(largest_difference(all_logits(*engine, prompt), logits), 2e-5 * largest_magnitude(logits));
  const auto completion = engine->generate(greedy(prompt, 32));
  ASSERT_TRUE(completion) << completion.error().message;
  EXPECT_EQ(completion->tokens, expected<int32_t>(name + ".expected.safetensors", "greedy"));
}

TEST_P(ForwardTest, chunks_of_a_prompt_give_the_bits_of_the_whole) {
  const std::string name = std::string("tiny/") + GetParam();
  const auto model = load(name, "none");
  const auto prompt = expected<int32_t>(name + ".expected.safetensors", "input_ids");
  const auto whole = all_logits(*engine_of(*model), prompt);
  for (const int64_t chunk : {1, 3, 7}) {
    EngineOptions options;
    options.max_batch_tokens = chunk;
    options.max_sequences = 1;
    EXPECT_EQ(all_logits(*engine_of(*model, options), prompt), whole) << chunk << " tokens at a time";
  }
}

TEST_P(ForwardTest, chunks_of_a_prompt_with_int8_activations_give_the_bits_of_the_whole) {
  const std::string name = std::string("tiny/") + GetParam();
  const auto model = load(name, "int8_per_channel");
  const auto prompt = expected<int32_t>(name + ".expected.safetensors", "input_ids");
  EngineOptions options;
  options.activations = Activations::kInt8PerToken;
  const auto whole = all_logits(*engine_of(*model, options), prompt);
  for (const int64_t chunk : {1, 3, 7}) {
    options.max_batch_tokens = chunk;
    options.max_sequences = 1;
    EXPECT_EQ(all_logits(*engine_of(*model, options), prompt), whole) << chunk << " tokens at a time";
  }
}

INSTANTIATE_TEST_SUITE_P(tiny, ForwardTest,
                         testing::Values("llama", "llama-bias", "llama-tied", "mistral", "mixtral", "phi3",
                                         "qwen2", "qwen3", "qwen3-moe", "qwen3-moe-mixed"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class OfflineTest : public LiveTest, public testing::WithParamInterface<const char*> {};

TEST_P(OfflineTest, logits_of_an_offline_quantized_checkpoint_equal_those_of_its_dequantized_weights) {
  const std::string name = std::string("quantized/") + GetParam();
  const auto model = load(name);
  const auto engine = engine_of(*model);
  const auto prompt = expected<int32_t>(name + ".expected.safetensors", "input_ids");
  const auto logits = expected<float>(name + ".expected.safetensors", "logits");
  EXPECT_LT(largest_difference(all_logits(*engine, prompt), logits), 2e-5 * largest_magnitude(logits));
}

INSTANTIATE_TEST_SUITE_P(quantized, OfflineTest,
                         testing::Values("fp8-block", "ct-int8-channel", "ct-fp8-channel", "ct-fp8-tensor",
                                         "ct-int4-group16-packed"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace liveweight
