// Bringing the next slots up to the current version, and the version before back.
#include <algorithm>
#include <utility>

#include "base/guarded.h"
#include "live/model_state.h"

namespace liveweight {
namespace {

constexpr std::chrono::milliseconds kRollbackTimeout{30'000};

struct GateOpener {
  Versions& versions;
  ~GateOpener() { versions.open_gate(); }
};

}  // namespace

void LiveModel::Implementation::keep_previous(int32_t parameter) {
  if (!previous_valid || undos[parameter]) return;
  if (!std::binary_search(last_touched.begin(), last_touched.end(), parameter)) return;
  auto undo = save_lag(tables(), parameter, lags[parameter], next_slot(parameter));
  if (!undo) return forget_previous();
  undos[parameter] = std::make_unique<SlotUndo>(std::move(*undo));
}

void LiveModel::Implementation::forget_previous() noexcept {
  previous_valid = false;
  free_forgotten();
  std::swap(undos, forgotten_undos);
}

void LiveModel::Implementation::free_forgotten() noexcept {
  for (std::unique_ptr<SlotUndo>& undo : forgotten_undos) undo.reset();
}

void LiveModel::Implementation::catch_up(int32_t parameter) {
  const Snapshot::State* current = versions.current();
  if (!current || plan->mode() == CommitMode::kInPlace || lags[parameter].none()) return;
  keep_previous(parameter);
  copy_lag(tables(), parameter, lags[parameter], current->table.slots[parameter], next_slot(parameter));
  lags[parameter].clear();
}

Status LiveModel::catch_up(std::chrono::milliseconds reader_timeout) {
  return guarded([&] { return implementation_->catch_up_all(reader_timeout); });
}

Status LiveModel::Implementation::catch_up_all(std::chrono::milliseconds reader_timeout) {
  std::lock_guard lock(mutex);
  if (update_open) return fail(ErrorCode::kBusy, "catch_up: an update is open");
  if (!versions.wait_for_readers(versions.other(), reader_timeout)) {
    return fail(ErrorCode::kBusy, "catch_up: readers did not let go of the version before the current one");
  }
  free_forgotten();
  for (int32_t p = 0; p < static_cast<int32_t>(lags.size()); ++p) catch_up(p);
  return mirror && !mirror->empty() ? mirror->settle() : Status{};
}

// Where this fails half-way, the lag says what differs from the current version, and the undo what to do
// again.
void LiveModel::Implementation::bring_back(int32_t parameter) {
  std::unique_ptr<SlotUndo>& undo = undos[parameter];
  if (!undo) return;
  catch_up(parameter);
  lags[parameter] = undo->lag;
  put_back(tables(), parameter, *undo, next_slot(parameter));
  undo.reset();
}

bool LiveModel::can_roll_back() const {
  std::lock_guard lock(implementation_->mutex);
  return implementation_->previous_valid && !implementation_->update_open;
}

Result<Version> LiveModel::rollback() {
  return guarded([&] { return implementation_->roll_back(); });
}

Result<Version> LiveModel::Implementation::roll_back() {
  std::lock_guard lock(mutex);
  if (update_open) return fail(ErrorCode::kBusy, "rollback: an update is open");
  if (!previous_valid) {
    return fail(ErrorCode::kFailedState,
                "rollback: the version before the current one is not there any more");
  }
  Snapshot::State& previous = versions.other();
  if (!versions.wait_for_readers(previous, kRollbackTimeout)) {
    return fail(ErrorCode::kBusy, "rollback: readers did not let go in time");
  }
  for (const int32_t p : last_touched) bring_back(p);
  const bool copies = plan->mode() == CommitMode::kCopy;
  if (copies && !versions.shut_gate(kRollbackTimeout)) {
    return fail(ErrorCode::kBusy, "rollback: readers did not let go in time");
  }
  const GateOpener opener{versions};  // which nobody shut where nothing is copied
  Version version{versions.next_number(), previous.label};
  if (copies) swap_slots(last_touched);
  BindingTable& old = previous.table;
  versions.set(previous, {version.number, std::move(old.slots), std::move(old.parameter_versions)},
               std::move(previous.label));
  versions.publish(&previous);
  mirror_back();
  return version;
}

// With its own commit the mirror goes back; one that it did not follow left it where the model returns to.
void LiveModel::Implementation::mirror_back() {
  std::swap(mirror_sequence, previous_mirror_sequence);
  if (mirror_to_revert) {
    // Either the model returns to the version where it stayed, or to one before that of which it should be.
    last_was_delta = mirror_sequence == std::exchange(mirror_to_revert, std::nullopt);
    if (!last_was_delta) mirror_sequence.reset();
    return;
  }
  if (mirror && last_was_delta && previous_mirror_sequence) revert_mirror(*previous_mirror_sequence);
}

void LiveModel::Implementation::revert_mirror(uint64_t sequence) noexcept {
  mirror_sequence.reset();
  const bool done = guarded([&] { return mirror->revert(sequence); }).has_value();
  mirror_to_revert = done ? std::nullopt : std::optional(sequence);
  if (!done) return;
  mirror_sequence = sequence + 1;
  // What its last change took back is the other version, or an update that failed.
  last_was_delta = previous_mirror_sequence == sequence;
  if (last_was_delta) previous_mirror_sequence.reset();  // nor is it that one's any more
}

}  // namespace liveweight
