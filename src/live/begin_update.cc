#include <fmt/format.h>

#include "base/guarded.h"
#include "live/update_state.h"
#include "liveweight/live_model.h"

namespace liveweight {
namespace {

// Parameters that a scope touches, and of those the ones that keep some of their bytes.
struct Touched {
  std::vector<bool> any;
  std::vector<int32_t> partly;
};

Touched touched_by(const Plan::Implementation& plan, const Coverage& coverage) {
  Touched touched{std::vector<bool>(plan.parameters.size()), {}};
  for (size_t p = 0; p < plan.parameters.size(); ++p) {
    bool all = true;
    for (const int32_t source : plan.parameter_sources[p]) {
      if (coverage.in_scope(source)) {
        touched.any[p] = true;
      } else {
        all = false;
      }
    }
    if (touched.any[p] && !all) touched.partly.push_back(static_cast<int32_t>(p));
  }
  return touched;
}

Status check_base(const LiveModel::Implementation& model, const UpdateOptions& options,
                  const Snapshot::State* current) {
  const Version version = model.versions.version_of(current);
  if (options.base_version && *options.base_version != version.number) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("the update is based on version {}, but the current one is {}",
                            *options.base_version, version.number));
  }
  if ((!options.scope.empty() || options.deltas) && !current) {
    return fail(ErrorCode::kFailedState,
                "a partial update needs a version to start from, and the model has none");
  }
  if (options.deltas && model.plan->mode() == CommitMode::kInPlace) {
    return fail(ErrorCode::kUnsupported, "deltas: they need a second slot, which the mode in_place has not");
  }
  return {};
}

// What failed to be taken back is; what is still to be put into it is, but the version that others are on the
// way to.
Status bring_mirror_up(LiveModel::Implementation& model) {
  if (model.mirror_to_revert) model.revert_mirror(*model.mirror_to_revert);
  if (!model.mirror_sequence) return {};
  bool settles = false;
  {
    LW_ASSIGN(const auto hold, model.mirror->hold());
    // Another rank noted an update there that did not come about.
    while (model.mirror->has_reverted(*model.mirror_sequence + 1)) *model.mirror_sequence += 2;
    settles = model.mirror->sequence() == model.mirror_sequence && model.mirror->unsettled();
  }
  return settles ? model.mirror->settle() : Status{};
}

Result<std::shared_ptr<Update::Implementation>> open_update(LiveModel::Implementation& model,
                                                            UpdateOptions options) {
  std::lock_guard lock(model.mutex);
  if (model.update_open) return fail(ErrorCode::kBusy, "another update is open: commit or abort it first");
  const Snapshot::State* current = model.versions.current();
  LW_TRY(check_base(model, options, current));
  model.free_forgotten();
  auto update = std::make_shared<Update::Implementation>(model, std::move(options));
  LW_ASSIGN(update->coverage,
            Coverage::create(model.tables(), update->options.scope, update->options.deltas));
  update->touched.resize(model.tables().parameters.size());
  update->base = current;
  // The slots to be written are the previous version's, and somebody may still be reading that.
  if (!model.versions.wait_for_readers(model.versions.other(), update->options.reader_timeout)) {
    return fail(ErrorCode::kBusy, "readers did not let go of the version before the current one in time");
  }
  // With deltas a parameter is touched when something of it comes.
  if (!update->options.deltas) {
    const Touched touched = touched_by(model.tables(), *update->coverage);
    for (const int32_t p : touched.partly) model.catch_up(p);
    for (size_t p = 0; p < touched.any.size(); ++p) {
      if (!touched.any[p]) continue;
      update->touched[p] = true;
      model.keep_previous(static_cast<int32_t>(p));
      model.lags[p].forget();
    }
  }
  // What brings the whole model is cheaper to copy there than to compare.
  const bool partial = update->options.deltas || !update->options.scope.empty();
  if (partial && model.mirror && model.plan->mode() != CommitMode::kInPlace) {
    LW_TRY(bring_mirror_up(model));
    if (update->check_mirror()) update->whole_changes = std::make_unique<WholeChanges>(model.tables());
  }
  update->staging = std::make_unique<Staging>(
      model.tables(), [&model](int32_t p) { return model.next_slot(p); }, *model.maxima,
      update->options.staging_budget_bytes);
  update->deltas = std::make_unique<DeltaStaging>(
      model.tables(), [&model](int32_t p) { return model.next_slot(p); },
      [&model](int32_t p) -> SlotLag& { return model.lags[p]; });
  model.update_open = true;
  return update;
}

}  // namespace

Result<Update> LiveModel::begin_update(UpdateOptions options) {
  LW_ASSIGN(auto update, guarded([&] { return open_update(*implementation_, std::move(options)); }));
  return Update(std::move(update));
}

}  // namespace liveweight
