#include "demo/ledger.h"

#include "infer/completion_check.h"

namespace liveweight::demo {

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
