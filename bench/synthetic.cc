#include "bench/synthetic.h"

#include <fmt/format.h>

#include <random>
#include <vector>

#include "base/memory.h"
#include "base/threads.h"
#include "liveweight/checkpoint.h"
#include "tensor/codec.h"

namespace liveweight::bench {
namespace {

struct NamedShape {
  std::string name;
  Shape shape;
};

std::vector<NamedShape> tensors_of(const SyntheticLlama& s) {
  const int64_t kv = s.hidden / s.heads * s.kv_heads;
  std::vector<NamedShape> all = {{"model.embed_tokens.weight", {s.vocabulary, s.hidden}}};
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    all.push_back({prefix + "input_layernorm.weight", {s.hidden}});
    all.push_back({prefix + "self_attn.q_proj.weight", {s.hidden, s.hidden}});
    all.push_back({prefix + "self_attn.k_proj.weight", {kv, s.hidden}});
    all.push_back({prefix + "self_attn.v_proj.weight", {kv, s.hidden}});
    all.push_back({prefix + "self_attn.o_proj.weight", {s.hidden, s.hidden}});
    all.push_back({prefix + "post_attention_layernorm.weight", {s.hidden}});
    all.push_back({prefix + "mlp.gate_proj.weight", {s.intermediate, s.hidden}});
    all.push_back({prefix + "mlp.up_proj.weight", {s.intermediate, s.hidden}});
    all.push_back({prefix + "mlp.down_proj.weight", {s.hidden, s.intermediate}});
  }
  all.push_back({"model.norm.weight", {s.hidden}});
  all.push_back({"lm_head.weight", {s.vocabulary, s.hidden}});
  return all;
}

std::string config_of(const SyntheticLlama& s) {
  return fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
 "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {}, "num_attention_heads": {},
 "num_key_value_heads": {}, "vocab_size": {}, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
 "max_position_embeddings": 2048, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
 "bos_token_id": 1, "eos_token_id": 2}}
)",
      s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.vocabulary);
}

// Chunks are independent, so the same seed gives the same weights whatever the number of threads.
void fill(uint16_t* to, int64_t count, uint64_t seed) {
  constexpr int64_t kChunk = 1 << 18;
  ThreadPool::shared().parallel_for((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    std::minstd_rand random(
        static_cast<std::minstd_rand::result_type>(seed * 7919 + static_cast<uint64_t>(chunk) + 1));
    std::normal_distribution<float> normal(0, 0.02f);
    const int64_t end = std::min(count, (chunk + 1) * kChunk);
    for (int64_t i = chunk * kChunk; i < end; ++i) to[i] = float_to_bf16(normal(random));
  });
}

}  // namespace

Status write_synthetic_llama(const std::filesystem::path& directory, const SyntheticLlama& shape,
                             uint64_t seed) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return fail(ErrorCode::kIo, fmt::format("{}: cannot create: {}", directory.string(), error.message()));
  }
  const std::vector<NamedShape> tensors = tensors_of(shape);
  uint64_t bytes = 0;
  for (const NamedShape& tensor : tensors) bytes += 2 * static_cast<uint64_t>(element_count(tensor.shape));
  LW_ASSIGN(const Buffer buffer, Buffer::allocate(bytes));
  fill(reinterpret_cast<uint16_t*>(buffer.data()), static_cast<int64_t>(bytes / 2), seed);
  std::vector<std::pair<std::string, TensorView>> views;
  const std::byte* at = buffer.data();
  for (const NamedShape& tensor : tensors) {
    const uint64_t size = 2 * static_cast<uint64_t>(element_count(tensor.shape));
    views.push_back({tensor.name, {DType::kBF16, tensor.shape, at, size}});
    at += size;
  }
  LW_TRY(write_safetensors(directory / "model.safetensors", views));
  return write_text_file(directory / "config.json", config_of(shape));
}

}  // namespace liveweight::bench
