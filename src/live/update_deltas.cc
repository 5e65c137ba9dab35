// The part of an update that knows of deltas.
#include <fmt/format.h>

#include <iterator>
#include <map>
#include <vector>

#include "base/seam.h"
#include "live/parallel_jobs.h"
#include "live/update_state.h"

namespace liveweight {

void Update::Implementation::touch(int32_t source, bool changes_only) {
  if (!options.deltas) return;
  const Plan::Implementation& plan = model.tables();
  std::lock_guard lock(touch_mutex);
  for (const Target& target : plan.sources[plan.primary_of(source)].targets) {
    const int32_t p = target.parameter;
    if (!touched[p]) {
      model.keep_previous(p);
      model.catch_up(p);
    }
    touched[p] = true;
    if (!changes_only) model.lags[p].forget();
  }
}

Status Update::Implementation::take_deltas(std::span<const TensorDelta> all) {
  return attempt([&] { return queue_deltas(all); });
}

// Those with few changes are checked side by side; the others one after the other, as that takes all threads
// by itself. So does what `touch` may copy.
Status Update::Implementation::queue_deltas(std::span<const TensorDelta> all) {
  constexpr int64_t kAtATime = 16;
  LW_TRY(may_queue_deltas(all));
  std::vector<CheckedDelta> checked(all.size());
  const auto check = [&](size_t i) -> Status {
    LW_ASSIGN(checked[i], check_delta(all[i]));
    return {};
  };
  LW_TRY(run_small_jobs(static_cast<int64_t>(all.size()), kAtATime, [&](int64_t job) -> Status {
    const auto i = static_cast<size_t>(job);
    return is_checked_alone(all[i]) ? check(i) : Status{};
  }));
  for (size_t i = 0; i < all.size(); ++i) {
    if (!is_checked_alone(all[i])) LW_TRY(check(i));
    const auto& [source, changes] = checked[i];
    LW_TRY(coverage->add_changes(source, changes.positions.size_bytes() + changes.values.size()));
    touch(source, true);
  }
  deltas->add(checked);
  return {};
}

Status Update::Implementation::may_queue_deltas(std::span<const TensorDelta> all) const {
  if (all.empty() || (options.deltas && !prepared && !deltas_staged)) return {};
  const std::string& name = all.front().name;
  return fail(
      ErrorCode::kFailedState,
      options.deltas
          ? fmt::format("tensor {}: the update's deltas are staged already", name)
          : fmt::format("tensor {}: the update was not begun for deltas (UpdateOptions::deltas)", name),
      {name});
}

Result<CheckedDelta> Update::Implementation::check_delta(const TensorDelta& delta) const {
  LW_TRY(reach(Step::kChunk));
  LW_ASSIGN(const int32_t index, coverage->find(delta.name));
  const Source& source = model.tables().sources[index];
  LW_TRY(check_facts(source, delta));
  CheckedDelta checked{index, owned(delta, source)};
  LW_TRY(check_changes(source, checked.changes));
  return checked;
}

Status Update::Implementation::check_mirror() const {
  if (!model.mirror) return fail(ErrorCode::kFailedState, "the model has no mirror (--mirror DIR)");
  if (model.mirror_sequence && !model.mirror->empty()) {
    const uint64_t there = model.mirror->sequence();
    if (there == *model.mirror_sequence) return {};
    const bool same = !options.label.empty() && model.mirror->version() == options.label;
    if (there == *model.mirror_sequence + 1 && same) return {};
  }
  return fail(ErrorCode::kFailedState,
              fmt::format("the mirror does not hold version {}, the current one: replace it with that one's "
                          "checkpoint (mirror_checkpoint; a reload from its directory does it)",
                          base ? base->table.version_number : 0));
}

Status Update::Implementation::stage_deltas() {
  if (deltas_staged) return {};
  deltas_staged = true;
  LW_TRY(deltas->settle_aliases());
  std::shared_ptr<void> hold;
  if (model.mirror) {
    LW_ASSIGN(hold, model.mirror->hold());
  }
  const Status usable = check_mirror();
  if (!usable) return deltas->run(nullptr, false, usable.error().message);
  const bool ahead = model.mirror->sequence() != *model.mirror_sequence;
  LW_TRY(deltas->run(model.mirror.get(), !ahead || model.mirror->has_previous_values(), ""));
  return model.mirror->check_whole();
}

// A matrix of one scale comes whole or as changes: each way needs all of it.
Status Update::Implementation::check_whole_matrices() const {
  if (!options.deltas || deltas->tensors() == coverage->tensors()) return {};
  const Plan::Implementation& plan = model.tables();
  std::vector<bool> whole(plan.sources.size());  // under any name
  for (int32_t s = 0; s < static_cast<int32_t>(plan.sources.size()); ++s) {
    if (coverage->any(s) && !deltas->has(s)) whole[plan.primary_of(s)] = true;
  }
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>> first_of;  // whole, and not
  for (int32_t s = 0; s < static_cast<int32_t>(plan.sources.size()); ++s) {
    for (const Target& target : plan.sources[s].targets) {
      if (!shares_scale(target)) continue;
      auto [at, added] = first_of.try_emplace({target.parameter, target.matrix}, -1, -1);
      (whole[s] ? at->second.first : at->second.second) = s;
    }
  }
  for (const auto& [key, members] : first_of) {
    if (members.first < 0 || members.second < 0) continue;
    const std::string &came = plan.sources[members.first].name, &other = plan.sources[members.second].name;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("tensor {}: it came whole and {} did not, but one scale covers both in {}", came,
                            other, plan.parameters[key.first].name),
                {came, other});
  }
  return {};
}

Status Update::Implementation::compare_with_mirror(int32_t source, std::span<const Piece> pieces) {
  if (!whole_changes) return {};
  std::lock_guard lock(mirror_mutex);
  LW_ASSIGN(const auto hold, model.mirror->hold());
  LW_TRY(whole_changes->add(*model.mirror, source, pieces));
  return model.mirror->check_whole();
}

// Only changes can be noted at their cost.
Status Update::Implementation::record_in_mirror() {
  const bool changes_only = deltas->tensors() == coverage->tensors();
  if (!check_mirror() || (deltas->tensors() > 0 && !deltas->has_noted())) return {};
  if (!changes_only && (!whole_changes || whole_changes->overflowed())) return {};
  std::vector<TensorDelta> changes = deltas->take_noted();
  if (!changes_only) {
    std::vector<TensorDelta> whole = whole_changes->take(*model.mirror);
    std::move(whole.begin(), whole.end(), std::back_inserter(changes));
  }
  const uint64_t sequence = *model.mirror_sequence;
  LW_TRY(model.mirror->record(std::move(changes), options.label, sequence));
  mirror_recorded = sequence + 1;
  return {};
}

}  // namespace liveweight
