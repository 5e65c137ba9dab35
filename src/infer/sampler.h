// From logits to the next token of one request.
#pragma once

#include <span>
#include <vector>

#include "infer/random.h"
#include "liveweight/engine.h"

namespace liveweight {

// kInvalidArgument names the parameter that is out of its range.
Status check_sampling(const SamplingParameters& parameters, int64_t vocab_size);

class Sampler {
 public:
  explicit Sampler(const SamplingParameters& parameters)
      : parameters_(parameters), random_(parameters.seed) {}

  // One token; draws one random number, unless greedy.
  int32_t next(std::span<const float> logits);

 private:
  // The candidates that top_k and top_p leave, likeliest first; their weights are in `weights_`.
  void select(std::span<const float> logits);
  int32_t draw();

  SamplingParameters parameters_;
  Random random_;
  std::vector<int32_t> candidates_;
  std::vector<double> weights_;
};

// The index of the largest; the lowest of equals.
int32_t argmax(std::span<const float> logits);

// The `count` likeliest tokens, likeliest first.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, float log_sum, int64_t count);

}  // namespace liveweight
