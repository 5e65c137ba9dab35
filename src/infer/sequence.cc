#include "infer/sequence.h"

#include <algorithm>
#include <utility>

#include "infer/vector_kernels.h"

namespace liveweight {

Sequence::Sequence(uint64_t id, Request request, RequestCallbacks callbacks)
    : request_(std::move(request)), callbacks_(std::move(callbacks)), sampler_(request_.sampling) {
  completion_.id = id;
  completion_.prompt_tokens = static_cast<int64_t>(request_.prompt.size());
  completion_.tokens.reserve(static_cast<size_t>(request_.sampling.max_new_tokens));
}

int32_t Sequence::token_at(int64_t position) const {
  return position < completion_.prompt_tokens ? request_.prompt[position]
                                              : completion_.tokens[position - completion_.prompt_tokens];
}

bool Sequence::stops(int32_t token, std::span<const int32_t> eos_token_ids) const {
  const std::vector<int32_t>& stops = request_.sampling.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return true;
  return !request_.sampling.ignore_eos &&
         std::find(eos_token_ids.begin(), eos_token_ids.end(), token) != eos_token_ids.end();
}

void Sequence::record(const GeneratedToken& token, const std::string& label) {
  if (completion_.tokens.empty()) first_token_ = Clock::now();
  completion_.tokens.push_back(token.token);
  completion_.logprobs.push_back(token.logprob);
  if (request_.sampling.logprobs > 0) completion_.top_logprobs.push_back(token.top);
  const auto end = static_cast<int64_t>(completion_.tokens.size());
  std::vector<VersionSpan>& spans = completion_.versions;
  if (spans.empty() || spans.back().version.number != token.version_number) {
    spans.push_back({end - 1, end, {token.version_number, label}});
  }
  spans.back().end = end;
}

bool Sequence::take(std::span<const float> logits, uint64_t version_number, const std::string& label,
                    std::span<const int32_t> eos_token_ids, GeneratedToken& token) {
  const float log_sum = log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
  token.token = sampler_.next(logits);
  token.logprob = logits[token.token] - log_sum;
  if (request_.sampling.logprobs > 0) token.top = top_logprobs(logits, log_sum, request_.sampling.logprobs);
  token.version_number = version_number;
  record(token, label);
  if (stops(token.token, eos_token_ids)) {
    finish(FinishReason::kStop);
    return true;
  }
  if (static_cast<int64_t>(completion_.tokens.size()) < request_.sampling.max_new_tokens) return false;
  finish(FinishReason::kLength);
  return true;
}

void Sequence::finish(FinishReason reason) {
  using Seconds = std::chrono::duration<double>;
  completion_.finish_reason = reason;
  if (completion_.tokens.empty()) return;
  completion_.prefill_seconds = Seconds(first_token_ - started_).count();
  completion_.decode_seconds = Seconds(Clock::now() - first_token_).count();
}

}  // namespace liveweight
