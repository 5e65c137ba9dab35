#include "infer/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace liveweight {
namespace {

Status out_of_range(const char* name, const char* expected, double got) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}, got {}", name, expected, got),
              {name});
}

// Leaves the `count` ids of the largest logits, largest first; of equal ones the lower id first.
void keep_largest(std::span<const float> logits, int64_t count, std::vector<int32_t>& ids) {
  const auto before = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  ids.resize(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const int64_t kept = std::min(count, static_cast<int64_t>(ids.size()));
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), before);
  ids.resize(static_cast<size_t>(kept));
}

}  // namespace

Status check_sampling(const SamplingParameters& p, int64_t vocab_size) {
  if (!(p.temperature >= 0 && std::isfinite(p.temperature))) {
    return out_of_range("temperature", "a finite number of at least 0", p.temperature);
  }
  if (!(p.top_p > 0 && p.top_p <= 1)) return out_of_range("top_p", "a number above 0 and at most 1", p.top_p);
  if (p.top_k < 0) return out_of_range("top_k", "0 (all) or more", static_cast<double>(p.top_k));
  if (p.max_new_tokens < 1) {
    return out_of_range("max_new_tokens", "1 or more", static_cast<double>(p.max_new_tokens));
  }
  if (p.logprobs < 0 || p.logprobs > vocab_size) {
    return out_of_range("logprobs", "from 0 to the size of the vocabulary", static_cast<double>(p.logprobs));
  }
  return {};
}

int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<int32_t>(best);
}

int32_t Sampler::next(std::span<const float> logits) {
  if (parameters_.temperature == 0) return argmax(logits);
  select(logits);
  return draw();
}

void Sampler::select(std::span<const float> logits) {
  const auto all = static_cast<int64_t>(logits.size());
  const bool cut_by_rank = parameters_.top_k > 0 && parameters_.top_k < all;
  if (cut_by_rank || parameters_.top_p < 1) {
    keep_largest(logits, cut_by_rank ? parameters_.top_k : all, candidates_);
  } else {
    candidates_.resize(logits.size());
    std::iota(candidates_.begin(), candidates_.end(), 0);
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  weights_.clear();
  for (const int32_t id : candidates_)
    weights_.push_back(std::exp((logits[id] - largest) / parameters_.temperature));
  if (parameters_.top_p >= 1) return;
  const double enough = parameters_.top_p * std::accumulate(weights_.begin(), weights_.end(), 0.0);
  double sum = 0;
  size_t kept = 0;
  while (kept < weights_.size() && sum < enough) sum += weights_[kept++];
  weights_.resize(std::max<size_t>(kept, 1));
}

int32_t Sampler::draw() {
  const double target = random_.next_double() * std::accumulate(weights_.begin(), weights_.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    sum += weights_[i];
    if (target < sum) return candidates_[i];
  }
  return candidates_[weights_.size() - 1];
}

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, float log_sum, int64_t count) {
  std::vector<int32_t> ids;
  keep_largest(logits, count, ids);
  std::vector<TokenLogprob> top;
  for (const int32_t id : ids) top.push_back({id, logits[id] - log_sum});
  return top;
}

}  // namespace liveweight
