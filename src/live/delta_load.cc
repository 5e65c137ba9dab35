// From a delta directory into a live model.
#include <fmt/format.h>

#include "base/clock.h"
#include "live/plan_tables.h"
#include "live/touched_units.h"
#include "liveweight/load.h"

namespace liveweight {
namespace {

class DeltaLoad {
 public:
  DeltaLoad(LiveModel& model, const DeltaDirectory& delta, const NameMap& names)
      : model_(model), delta_(delta), names_(names), mirror_(model.mirror()) {}

  // What is wrong with files that changed while they were read is that.
  Result<DeltaReport> run(UpdateOptions options) {
    options.verify_source = [this] { return delta_.check_unchanged(); };
    Result<DeltaReport> report = load(std::move(options));
    if (!report) LW_TRY(delta_.check_unchanged());
    return report;
  }

 private:
  Result<DeltaReport> load(UpdateOptions options) {
    report_.base_version = delta_.base_version();
    report_.version = delta_.version();
    LW_TRY(collect_names(options));
    options.deltas = true;
    options.label = delta_.version();
    LW_ASSIGN(Update update, model_.begin_update(std::move(options)));
    LW_TRY(decode_all());
    for (const TensorDelta& delta : deltas_) LW_TRY(update.put_delta(delta));
    LW_ASSIGN(report_.update, update.commit());
    report_.touched_units = touched_units(model_.plan().implementation(), deltas_);
    return report_;
  }

  Status collect_names(UpdateOptions& options) {
    for (const std::string& name : delta_.names()) {
      LW_ASSIGN(std::string canonical, names_.canonical(name));
      if (is_ignored_tensor(canonical)) continue;
      options.scope.push_back(canonical);
      tensors_.emplace_back(name, std::move(canonical));
    }
    return {};
  }

  Status decode_all() {
    std::shared_ptr<void> hold;
    if (mirror_) {
      LW_ASSIGN(hold, mirror_->hold());
    }
    for (const auto& [name, canonical] : tensors_) {
      const auto start = Clock::now();
      LW_ASSIGN(const TensorView base, base_of(name, canonical));
      LW_ASSIGN(TensorDelta delta, delta_.decode(name, base));
      report_.decode_seconds += seconds_since(start);
      if (delta_.encoding() != DeltaEncoding::kIndices) LW_TRY(verify(name, delta, base));
      delta.name = canonical;
      deltas_.push_back(std::move(delta));
    }
    return {};
  }

  // The current tensor; of `indices` only what it is, as those bring whole elements.
  Result<TensorView> base_of(const std::string& name, const std::string& canonical) const {
    const Plan::Implementation& plan = model_.plan().implementation();
    const int32_t source = plan.find_source(canonical);
    if (source < 0) {
      return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {}: the model has none of that name", name),
                  {name});
    }
    const Source& facts = plan.sources[source];
    if (delta_.encoding() == DeltaEncoding::kIndices) {
      return TensorView{facts.dtype, facts.shape, nullptr, facts.bytes};
    }
    TensorView view = mirror_ ? mirror_->find(canonical) : TensorView{};
    const bool ahead = mirror_ && mirror_->version() == delta_.version() && !mirror_->has_previous_values();
    if (view.data && !ahead) return view;
    return fail(ErrorCode::kFailedState,
                fmt::format("{}: {} needs the values before it: {}", delta_.path().string(),
                            to_string(delta_.encoding()),
                            ahead     ? "the mirror holds this version already"
                            : mirror_ ? fmt::format("the mirror does not hold tensor {}", canonical)
                                      : "the model has no mirror (--mirror DIR)"),
                {name});
  }

  Status verify(const std::string& name, const TensorDelta& delta, const TensorView& base) {
    const auto start = Clock::now();
    std::vector<std::byte> updated(base.data, base.data + base.bytes);
    patch(delta, updated);
    LW_TRY(delta_.verify(name, updated));
    report_.verify_seconds += seconds_since(start);
    return {};
  }

  LiveModel& model_;
  const DeltaDirectory& delta_;
  const NameMap& names_;
  const std::shared_ptr<Mirror> mirror_;
  std::vector<std::pair<std::string, std::string>> tensors_;  // in the delta and in the model
  std::vector<TensorDelta> deltas_;
  DeltaReport report_;
};

}  // namespace

Result<DeltaReport> reload_delta(LiveModel& model, const DeltaDirectory& delta, const std::string& version,
                                 const NameMap& names, UpdateOptions options) {
  if (!same_version(delta.base_version(), version)) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("{}: base_version: it applies on version {}, but the model is at {}",
                            delta.path().string(), delta.base_version(), version),
                {delta.path().string()});
  }
  return DeltaLoad(model, delta, names).run(std::move(options));
}

Status mirror_checkpoint(LiveModel& model, std::shared_ptr<Mirror> mirror, const Checkpoint& checkpoint,
                         const NameMap& names, const std::string& version) {
  LW_TRY(mirror->replace(
      checkpoint, [&](std::string_view name) { return names.canonical(name); }, version));
  return model.attach_mirror(std::move(mirror));
}

}  // namespace liveweight
