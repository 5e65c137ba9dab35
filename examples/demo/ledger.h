// What was answered under which version. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "liveweight/engine.h"

namespace liveweight::demo {

struct Answers {
  int64_t whole = 0;     // answered wholly under the version
  int64_t right = 0;     // of those
  int64_t spanning = 0;  // begun under an older version and ended under this one
  int64_t tokens = 0;    // of this version, whatever request they belong to

  double accuracy() const { return whole > 0 ? static_cast<double>(right) / static_cast<double>(whole) : 0; }
};

class Ledger {
 public:
  // A completion whose spans do not say of every token which version it is of is a failure.
  void add(const Completion& completion, bool right);
  void add_failure(const std::string& why);

  Answers of(uint64_t version) const;
  Answers total() const;
  int64_t requests() const;
  int64_t failed() const;
  std::string first_failure() const;

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, Answers> answers_;
  int64_t requests_ = 0;
  int64_t failed_ = 0;
  std::string first_failure_;
};

}  // namespace liveweight::demo
