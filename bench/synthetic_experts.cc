#include "bench/synthetic_experts.h"

#include <fmt/format.h>

namespace liveweight::bench {

std::string config_of(const SyntheticExperts& s) {
  return fmt::format(
      R"({{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
 "hidden_size": {}, "intermediate_size": 6144, "moe_intermediate_size": {}, "num_hidden_layers": {},
 "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {}, "vocab_size": {},
 "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "max_position_embeddings": 40960, "num_experts": {},
 "num_experts_per_tok": 8, "norm_topk_prob": true, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}})",
      s.hidden, s.expert_width, s.layers, s.heads, s.kv_heads, s.head_dim, s.vocabulary, s.experts);
}

}  // namespace liveweight::bench
