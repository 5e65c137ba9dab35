#include "bench/soak_traffic.h"

#include <fmt/format.h>

#include "infer/completion_check.h"

namespace liveweight::bench {

SoakTraffic::SoakTraffic(const SoakVersions& versions, StepThread& steps, int clients)
    : versions_(versions), steps_(steps), threads_(clients, [this](size_t number) { return ask(number); }) {}

std::string SoakTraffic::fault() const {
  std::lock_guard lock(mutex_);
  return fault_;
}

bool SoakTraffic::ask(size_t number) {
  const size_t request = number % versions_.requests().size();
  const Result<Completion> completion = steps_.ask(versions_.requests()[request]);
  const std::string fault = completion ? compare(request, *completion) : completion.error().message;
  if (fault.empty()) return true;
  std::lock_guard lock(mutex_);
  if (fault_.empty()) fault_ = fmt::format("request {}: {}", request, fault);
  return false;
}

std::string SoakTraffic::compare(size_t request, const Completion& completion) {
  if (std::string fault = fault_of(completion); !fault.empty()) return fault;
  ++requests_;
  tokens_ += static_cast<int64_t>(completion.tokens.size());
  if (completion.versions.size() > 1) ++spanning_;
  const VersionSpan& first = completion.versions.front();
  const SoakVersion* version = versions_.find(first.version.label);
  if (!version) return fmt::format("tokens of version {}, which is none", first.version.label);
  const Completion& cold = version->answers[request];
  for (auto i = static_cast<size_t>(first.start); i < static_cast<size_t>(first.end); ++i) {
    if (completion.tokens[i] == cold.tokens[i] && completion.logprobs[i] == cold.logprobs[i]) continue;
    return fmt::format("token {} of version {}: a cold load gives {} ({}), got {} ({})", i, version->name,
                       cold.tokens[i], cold.logprobs[i], completion.tokens[i], completion.logprobs[i]);
  }
  compared_ += first.end - first.start;
  return "";
}

}  // namespace liveweight::bench
