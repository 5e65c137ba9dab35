// A request while it waits and runs.
#pragma once

#include <chrono>
#include <memory>

#include "infer/sampler.h"

namespace liveweight {

class Sequence {
 public:
  using Clock = std::chrono::steady_clock;

  Sequence(uint64_t id, Request request, RequestCallbacks callbacks);

  uint64_t id() const { return completion_.id; }
  const RequestCallbacks& callbacks() const { return callbacks_; }
  const Completion& completion() const { return completion_; }
  const Request& request() const { return request_; }

  // Tokens of prompt and output, and how many of them are in the cache.
  int64_t tokens() const { return static_cast<int64_t>(request_.prompt.size() + completion_.tokens.size()); }
  int64_t cached() const { return cached_; }
  int32_t token_at(int64_t position) const;

  void start() { started_ = Clock::now(); }
  void advance(int64_t tokens) { cached_ += tokens; }

  // Takes the logits after the last token; true where that ends the request. `label` is that of the version.
  bool take(std::span<const float> logits, uint64_t version_number, const std::string& label,
            std::span<const int32_t> eos_token_ids, GeneratedToken& token);
  void finish(FinishReason reason);

 private:
  void record(const GeneratedToken& token, const std::string& label);
  bool stops(int32_t token, std::span<const int32_t> eos_token_ids) const;

  Request request_;
  RequestCallbacks callbacks_;
  Sampler sampler_;
  Completion completion_;
  int64_t cached_ = 0;
  Clock::time_point started_;
  Clock::time_point first_token_;
};

}  // namespace liveweight
