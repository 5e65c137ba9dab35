// Checkpoints of random weights in the shapes of real models, for measuring.
#pragma once

#include <cstdint>
#include <filesystem>

#include "liveweight/error.h"

namespace liveweight::bench {

struct SyntheticLlama {
  int64_t hidden = 2048, layers = 22, heads = 32, kv_heads = 4, intermediate = 5632, vocabulary = 32000;
};

// Writes a Hugging Face directory with one bf16 file: normal weights of deviation 0.02, the same for the same
// seed. 2.2 GB for the defaults, the shapes of a 1.1B Llama.
Status write_synthetic_llama(const std::filesystem::path& directory, const SyntheticLlama& shape,
                             uint64_t seed);

}  // namespace liveweight::bench
