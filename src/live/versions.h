// Two binding tables, which of them is current, and who reads them. The protocol, in the order that makes it
// safe: a reader counts itself in on the current table, then looks whether the table still is the current one
// (if not, it counts itself out and tries again); a writer publishes the other table, and touches what the
// old one points at only after its count has been zero. Both sides are sequentially consistent, so one of
// them always sees the other.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>

#include "liveweight/live_model.h"

namespace liveweight {

struct Snapshot::State {
  BindingTable table;
  std::string label;
  std::atomic<int64_t> readers{0};
};

class Versions {
 public:
  // Counts the caller in on the current table; null where there is none. Waits while the gate is shut.
  Snapshot::State* enter();
  static void leave(Snapshot::State& state);

  // For the one writer. `other` is not the current table; nobody may read what it points at once its readers
  // are gone.
  Snapshot::State* current() const { return current_.load(); }
  Snapshot::State& other();
  bool wait_for_readers(const Snapshot::State& state, std::chrono::milliseconds timeout) const;

  // Lets nobody in; then waits until everybody is out. On false (timeout) the gate is open again.
  bool shut_gate(std::chrono::milliseconds timeout);
  void open_gate();

  // One atomic write: `next` is the current table from now on, and its number is taken. Null: there is no
  // version.
  void publish(Snapshot::State* next);

  uint64_t next_number() const { return last_number_ + 1; }
  Version version_of(const Snapshot::State* state) const;
  std::string label_of(uint64_t number) const;
  // Of a version that nobody reads yet. Beside this, labels of any version may be asked for.
  void set(Snapshot::State& state, BindingTable table, std::string label) noexcept;

 private:
  Snapshot::State states_[2];
  std::atomic<Snapshot::State*> current_{nullptr};
  // Odd: shut. It counts, so that a reader that found no version knows whether it was shut meanwhile.
  std::atomic<uint32_t> gate_{0};
  uint64_t last_number_ = 0;
  mutable std::mutex label_mutex_;
};

}  // namespace liveweight
