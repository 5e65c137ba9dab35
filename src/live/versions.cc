#include "live/versions.h"

#include <thread>
#include <utility>

namespace liveweight {
namespace {

constexpr std::chrono::microseconds kPoll{20};

// Readers hold a table for a step, milliseconds: polling costs nothing beside that, and needs no lock on
// their side.
template <typename Condition>
bool wait_until(std::chrono::milliseconds timeout, const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

bool is_shut(uint32_t gate) {
  return gate % 2 == 1;
}

}  // namespace

Snapshot::State* Versions::enter() {
  while (true) {
    const uint32_t gate = gate_.load();
    if (is_shut(gate)) {
      gate_.wait(gate);
      continue;
    }
    Snapshot::State* state = current_.load();
    if (!state) {
      if (gate_.load() != gate) continue;  // one was withdrawn, and another may be there by now
      return nullptr;
    }
    ++state->readers;
    if (current_.load() == state && gate_.load() == gate) return state;
    --state->readers;
  }
}

void Versions::leave(Snapshot::State& state) {
  --state.readers;
}

Snapshot::State& Versions::other() {
  return current_.load() == &states_[0] ? states_[1] : states_[0];
}

bool Versions::wait_for_readers(const Snapshot::State& state, std::chrono::milliseconds timeout) const {
  return wait_until(timeout, [&] { return state.readers.load() == 0; });
}

bool Versions::shut_gate(std::chrono::milliseconds timeout) {
  gate_ |= 1;
  const auto everybody_out = [&] { return states_[0].readers.load() == 0 && states_[1].readers.load() == 0; };
  if (wait_until(timeout, everybody_out)) return true;
  open_gate();
  return false;
}

void Versions::open_gate() {
  if (is_shut(gate_.load())) ++gate_;
  gate_.notify_all();
}

void Versions::publish(Snapshot::State* next) {
  current_.store(next);
  if (next) last_number_ = next->table.version_number;
}

Version Versions::version_of(const Snapshot::State* state) const {
  std::lock_guard lock(label_mutex_);
  if (!state) return {};
  return {state->table.version_number, state->label};
}

std::string Versions::label_of(uint64_t number) const {
  std::lock_guard lock(label_mutex_);
  for (const Snapshot::State& state : states_) {
    if (state.table.version_number == number) return state.label;
  }
  return {};
}

void Versions::set(Snapshot::State& state, BindingTable table, std::string label) noexcept {
  std::lock_guard lock(label_mutex_);
  state.table = std::move(table);
  state.label = std::move(label);
}

}  // namespace liveweight
