// One sequence of calls on a live model, drawn from an input, and what has to come of each.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>

#include "fuzz/update/expectation.h"

namespace liveweight::fuzz {

constexpr std::chrono::milliseconds kNoWait{0};

class Sequence {
 public:
  Sequence(Subject& subject, CommitMode mode, FuzzedDataProvider& input);
  // Up to 60 calls, and then an update that has to succeed.
  void run();

 private:
  struct Pin {
    Snapshot snapshot;
    uint64_t number;
    Digest digest;
  };

  void step();
  // What must hold after any call.
  void check();

  bool open() const { return update_ && !pending_.closed; }
  // Whether readers have to wait for an update in place.
  bool shut() const { return open() && pending_.written && !pending_.error; }
  // Whether there is a version to be seen.
  bool visible() const { return expected_.current.has_value() && !(open() && pending_.written); }
  // Whether a version other than the current one is pinned: then nobody may write.
  bool pinned_other() const {
    return std::any_of(pins_.begin(), pins_.end(),
                       [&](const Pin& pin) { return !expected_.current || pin.number != expected_.number; });
  }
  bool may_come(const std::string& name) const { return !pending_.prepared && pending_.scope.contains(name); }

  const Weights& any_version() {
    return subject_.versions[input_.ConsumeIntegralInRange<size_t>(0, kVersions - 1)];
  }
  const std::string& any_name() {
    return names_[input_.ConsumeIntegralInRange<size_t>(0, names_.size() - 1)];
  }

  void begin(UpdateOptions options);
  void begin_with_options();
  bool add_to_scope(const std::string& entry, std::set<std::string>& scope) const;

  // Notes what a call gave: a good one must succeed, a wrong one must not, and after a refusal each gives the
  // same.
  void came(const Status& status, bool good, bool doubtful = false);
  void put(const std::string& name, const Weights& from, const std::vector<int64_t>& elements, bool borrowed,
           const std::function<Status()>& call);
  static std::vector<int64_t> run_of(int64_t first, int64_t count);
  void put_whole(const std::string& name, const Weights& from, bool borrowed);
  void put_all_of(int version);
  void put_rest();
  void put_run();
  void put_region();
  void put_wrong();
  void put_not_finite();
  void put_changes();
  void put_wrong_changes();
  void put_alias();

  // Whether a commit, were it tried now, must be refused, and whether it may be.
  bool must_fail() const;
  bool may_fail() const;
  void prepare();
  void commit();
  void close();
  void abort();
  void drop();

  void rollback();
  void catch_up();
  void attach_mirror();
  static bool same(const Weights& a, const Weights& b);
  void pin();
  void unpin();

  Subject& subject_;
  FuzzedDataProvider& input_;
  const CommitMode mode_;
  const bool tied_;
  std::unique_ptr<LiveModel> live_;
  std::vector<const std::byte*> addresses_;
  std::vector<std::string> names_;
  Expectation expected_;
  Pending pending_;
  std::deque<Weights> kept_;  // what was borrowed
  std::optional<Update> update_;
  std::deque<Pin> pins_;
};

}  // namespace liveweight::fuzz
