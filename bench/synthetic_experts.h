// Mixtures of experts of very many tensors, for measuring.
#pragma once

#include <cstdint>
#include <string>

namespace liveweight::bench {

// A Qwen3-MoE: 3 x layers x experts tensors and some.
struct SyntheticExperts {
  int64_t layers, experts;
  int64_t hidden = 2048, expert_width = 768, heads = 32, kv_heads = 4, head_dim = 128, vocabulary = 151936;
};

std::string config_of(const SyntheticExperts& shape);  // of config.json

}  // namespace liveweight::bench
