// From a delta directory into a live model.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/clock.h"
#include "live/begin_together.h"
#include "live/plan_tables.h"
#include "live/touched_units.h"
#include "liveweight/load.h"

namespace liveweight {
namespace {

class DeltaLoad {
 public:
  DeltaLoad(std::span<LiveModel* const> ranks, const DeltaDirectory& delta, const NameMap& names)
      : ranks_(ranks),
        plan_(ranks.front()->plan().implementation()),
        delta_(delta),
        names_(names),
        mirror_(ranks.front()->mirror()) {}

  // What is wrong with files that changed while they were read is that.
  Result<std::vector<DeltaReport>> run(UpdateOptions options) {
    options.verify_source = [this] { return delta_.check_unchanged(); };
    if (options.label.empty()) options.label = delta_.version();
    Result<std::vector<DeltaReport>> reports = load(std::move(options));
    if (!reports) LW_TRY(delta_.check_unchanged());
    return reports;
  }

 private:
  Result<std::vector<DeltaReport>> load(UpdateOptions options) {
    report_.base_version = delta_.base_version();
    report_.version = delta_.version();
    LW_TRY(collect_names(options));
    options.deltas = true;
    label_ = options.label;
    LW_ASSIGN(std::vector<Update> updates, begin_together(ranks_, options));
    LW_TRY(decode_all(updates.front()));
    for (Update& update : updates) LW_TRY(update.put_deltas(deltas_));
    LW_ASSIGN(const std::vector<UpdateReport> reports, commit_together(updates));
    std::vector<DeltaReport> all(ranks_.size(), report_);
    for (size_t rank = 0; rank < all.size(); ++rank) {
      all[rank].update = reports[rank];
      all[rank].touched_units = touched_units(ranks_[rank]->plan().implementation(), deltas_);
    }
    return all;
  }

  Status collect_names(UpdateOptions& options) {
    for (const std::string& name : delta_.names()) {
      LW_ASSIGN(const std::string canonical, names_.canonical(name));
      if (is_ignored_tensor(canonical)) continue;
      const int32_t source = plan_.find_source(canonical);
      if (source < 0) {
        return fail(
            ErrorCode::kUnknownTensor,
            fmt::format("{}: tensor {}: the model has none of that name", delta_.path().string(), name),
            {name});
      }
      options.scope.push_back(canonical);
      tensors_.emplace_back(name, source);
    }
    return {};
  }

  Status decode_all(const Update& update) {
    std::shared_ptr<void> hold;
    if (mirror_) {
      LW_ASSIGN(hold, mirror_->hold());
    }
    if (delta_.encoding() != DeltaEncoding::kIndices) LW_TRY(require_mirror(update));
    for (const auto& [name, source] : tensors_) {
      const auto start = Clock::now();
      LW_ASSIGN(const TensorView base, base_of(name, source));
      LW_ASSIGN(TensorDelta delta, decode(name, base));
      report_.decode_seconds += seconds_since(start);
      if (delta_.encoding() != DeltaEncoding::kIndices) LW_TRY(verify(name, delta, base));
      delta.name = plan_.sources[source].name;
      deltas_.push_back(std::move(delta));
    }
    return {};
  }

  Status require_mirror(const Update& update) const {
    const Status usable = update.check_mirror();
    if (usable) return {};
    const std::string there =
        mirror_ ? fmt::format(" (it is at version \"{}\")", mirror_->version()) : std::string();
    return fail(ErrorCode::kFailedState,
                fmt::format("{}: {} needs the values before it: {}{}", delta_.path().string(),
                            to_string(delta_.encoding()), usable.error().message, there),
                {delta_.path().string()});
  }

  // The current tensor; of `indices` only what it is, as those bring whole elements.
  Result<TensorView> base_of(const std::string& name, int32_t source) const {
    const Source& facts = plan_.sources[source];
    if (delta_.encoding() == DeltaEncoding::kIndices) {
      return TensorView{facts.dtype, facts.shape, nullptr, facts.bytes};
    }
    const TensorView view = mirrored(source);
    if (view.data) return view;
    return fail(ErrorCode::kFailedState,
                fmt::format("{}: {} needs the values before it: the mirror does not hold tensor {}",
                            delta_.path().string(), to_string(delta_.encoding()), facts.name),
                {name});
  }

  // Under any name of the same tensor.
  TensorView mirrored(int32_t source) const {
    const int32_t primary = plan_.primary_of(source);
    std::vector<int32_t> names = {primary};
    std::copy_if(plan_.aliases.begin(), plan_.aliases.end(), std::back_inserter(names),
                 [&](int32_t alias) { return plan_.primary_of(alias) == primary; });
    for (const int32_t other : names) {
      TensorView view = mirror_->find(plan_.sources[other].name);
      if (view.data) return view;
    }
    return {};
  }

  // Where another rank has put this version into the mirror, its values are what an xor would lead to.
  Result<TensorDelta> decode(const std::string& name, const TensorView& base) const {
    LW_ASSIGN(TensorDelta delta, delta_.decode(name, base));
    if (delta_.encoding() != DeltaEncoding::kXor || label_.empty() || mirror_->version() != label_ ||
        mirror_->has_previous_values()) {
      return delta;
    }
    const int64_t cell = cell_bytes(base.dtype);
    ChangedCells cells{{delta.positions.begin(), delta.positions.end()}, {}};
    for (const uint32_t position : delta.positions) {
      const std::byte* value = base.data + position * cell;
      cells.values.insert(cells.values.end(), value, value + cell);
    }
    return make_delta(delta.name, delta.dtype, delta.shape, std::move(cells));
  }

  Status verify(const std::string& name, const TensorDelta& delta, const TensorView& base) {
    const auto start = Clock::now();
    std::vector<std::byte> updated(base.data, base.data + base.bytes);
    patch(delta, updated);
    if (Status same = delta_.verify(name, updated); !same) {
      Error why = std::move(same).error();
      if (why.code == ErrorCode::kDigestMismatch) {
        why.message += fmt::format(" (on the mirror's values, of version \"{}\")", mirror_->version());
      }
      return tl::unexpected(std::move(why));
    }
    report_.verify_seconds += seconds_since(start);
    return {};
  }

  const std::span<LiveModel* const> ranks_;
  const Plan::Implementation& plan_;
  const DeltaDirectory& delta_;
  const NameMap& names_;
  const std::shared_ptr<Mirror> mirror_;
  std::vector<std::pair<std::string, int32_t>> tensors_;  // name in the delta, source in the plan
  std::vector<TensorDelta> deltas_;
  std::string label_;
  DeltaReport report_;  // what all ranks' have
};

}  // namespace

Result<DeltaReport> reload_delta(LiveModel& model, const DeltaDirectory& delta, const std::string& version,
                                 const NameMap& names, UpdateOptions options) {
  LiveModel* const alone = &model;
  LW_ASSIGN(auto reports, reload_delta(std::span(&alone, 1), delta, version, names, std::move(options)));
  return std::move(reports.front());
}

Result<std::vector<DeltaReport>> reload_delta(std::span<LiveModel* const> ranks, const DeltaDirectory& delta,
                                              const std::string& version, const NameMap& names,
                                              UpdateOptions options) {
  if (!same_version(delta.base_version(), version)) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("{}: base_version: it applies on version {}, but the model is at {}",
                            delta.path().string(), delta.base_version(), version),
                {delta.path().string()});
  }
  return DeltaLoad(ranks, delta, names).run(std::move(options));
}

Status mirror_checkpoint(LiveModel& model, std::shared_ptr<Mirror> mirror, const Checkpoint& checkpoint,
                         const NameMap& names, const std::string& version,
                         std::optional<uint64_t> version_number) {
  UpdateOptions nothing;
  nothing.base_version = version_number.value_or(model.version().number);
  nothing.deltas = model.plan().mode() != CommitMode::kInPlace;  // so that it touches nothing
  // While it is open no other update commits a version that is not the checkpoint's, or uses the mirror.
  LW_ASSIGN(Update guard, model.begin_update(nothing));
  LW_TRY(mirror->replace(checkpoint, names.as_function(), version));
  guard.abort();
  return model.attach_mirror(std::move(mirror), nothing.base_version);
}

}  // namespace liveweight
