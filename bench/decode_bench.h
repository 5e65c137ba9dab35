// Tokens per second of a live model against what the machine's memory and multipliers allow: a program that
// only reads as many bytes as a token needs of the weights, and one that only multiplies and adds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "liveweight/engine.h"

namespace liveweight::bench {

struct DecodeOptions {
  int rounds = 5;
  int64_t prompt_tokens = 128;
  int64_t new_tokens = 12;  // of each sequence that decodes
  int64_t batch = 8;
  std::string head = "none";  // the head's scheme; engines leave it as it is where they are not asked
};

// Medians. Shares are of the limit's speed: of reading the weights once a step for decoding, of the multiply
// and add of every weight for the prompt, in the arithmetic of those activations.
struct DecodeFigures {
  std::string scheme;
  Activations activations = Activations::kFp32;
  uint64_t token_bytes = 0;  // of weights that a token needs
  double read_gb_per_s = 0;
  double read_limit_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
  double decode_share = 0;
  double batch_tokens_per_s = 0;  // of all sequences together
  double batch_share = 0;         // of `batch` times the read limit
  double multiply_limit_tokens_per_s = 0;
  double prefill_tokens_per_s = 0;
  double prefill_share = 0;
};

// For fp32 activations, and in the same rounds for int8 ones where the scheme's weights take them.
Result<std::vector<DecodeFigures>> measure_decode(const std::filesystem::path& directory,
                                                  const std::string& scheme, const DecodeOptions& options);

}  // namespace liveweight::bench
