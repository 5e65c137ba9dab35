#include "demo/ledger.h"

#include <fmt/format.h>

namespace liveweight::demo {
namespace {

// Empty where all is well.
std::string fault_of(const Completion& completion) {
  if (completion.tokens.empty()) return "no token was generated";
  if (completion.finish_reason == FinishReason::kCancelled) return "cancelled";
  int64_t end = 0;
  uint64_t version = 0;
  for (const VersionSpan& span : completion.versions) {
    if (span.start != end || span.end <= span.start || span.version.number <= version) {
      return fmt::format("span [{}, {}) of version {} does not follow [.., {}) of version {}", span.start,
                         span.end, span.version.number, end, version);
    }
    end = span.end;
    version = span.version.number;
  }
  const auto tokens = static_cast<int64_t>(completion.tokens.size());
  return end == tokens ? "" : fmt::format("spans end at {} of {} tokens", end, tokens);
}

}  // namespace

void Ledger::add(const Completion& completion, bool right) {
  if (const std::string fault = fault_of(completion); !fault.empty()) return add_failure(fault);
  std::lock_guard lock(mutex_);
  ++requests_;
  for (const VersionSpan& span : completion.versions) {
    answers_[span.version.number].tokens += span.end - span.start;
  }
  Answers& last = answers_[completion.versions.back().version.number];
  if (completion.versions.size() > 1) {
    ++last.spanning;
    return;
  }
  ++last.whole;
  if (right) ++last.right;
}

void Ledger::add_failure(const std::string& why) {
  std::lock_guard lock(mutex_);
  ++requests_;
  if (failed_++ == 0) first_failure_ = why;
}

Answers Ledger::of(uint64_t version) const {
  std::lock_guard lock(mutex_);
  const auto found = answers_.find(version);
  return found == answers_.end() ? Answers{} : found->second;
}

Answers Ledger::total() const {
  std::lock_guard lock(mutex_);
  Answers total;
  for (const auto& [version, answers] : answers_) {
    total.whole += answers.whole;
    total.right += answers.right;
    total.spanning += answers.spanning;
    total.tokens += answers.tokens;
  }
  return total;
}

int64_t Ledger::requests() const {
  std::lock_guard lock(mutex_);
  return requests_;
}

int64_t Ledger::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

std::string Ledger::first_failure() const {
  std::lock_guard lock(mutex_);
  return first_failure_;
}

}  // namespace liveweight::demo
