#include "bench/soak_updates.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/soak_deliveries.h"

namespace liveweight::bench {
namespace {

struct Facts {
  const char* name;
  size_t weight;  // how often it is drawn
  SoakOutcome outcome;
  ErrorCode reason = ErrorCode::kInternal;  // where it has to be refused
};

constexpr std::array<Facts, kSoakKinds> kFacts = {{
    {"full", 26, SoakOutcome::kTaken},
    {"pieces", 10, SoakOutcome::kTaken},
    {"partial", 14, SoakOutcome::kTaken},
    {"delta", 14, SoakOutcome::kTaken},
    {"nan", 4, SoakOutcome::kRefused, ErrorCode::kNonFinite},
    {"missing", 4, SoakOutcome::kRefused, ErrorCode::kMissingTensor},
    {"wrong_shape", 4, SoakOutcome::kRefused, ErrorCode::kWrongShape},
    {"wrong_dtype", 4, SoakOutcome::kRefused, ErrorCode::kWrongDtype},
    {"abort", 8, SoakOutcome::kAborted},
    {"rollback", 12, SoakOutcome::kRolledBack},
    {"late_rollback", 0, SoakOutcome::kRefused, ErrorCode::kFailedState},
}};

const Facts& facts_of(SoakKind kind) {
  return kFacts[static_cast<size_t>(kind)];
}

tl::unexpected<Error> broken(SoakKind kind, const std::string& how) {
  return fail(ErrorCode::kInternal, fmt::format("{}: {}", to_string(kind), how));
}

}  // namespace

std::string_view to_string(SoakKind kind) {
  return facts_of(kind).name;
}

SoakOutcome outcome_of(SoakKind kind) {
  return facts_of(kind).outcome;
}

// A rollback has to be refused where there is nothing to go back to, and to work where nothing was written
// since the commit; what was may leave it the version before. Partial updates and deltas go only between
// versions of a family.
SoakKind SoakUpdates::draw() {
  size_t total = 0;
  for (const Facts& facts : kFacts) total += facts.weight;
  size_t left = draw_below(random_, total), at = 0;
  while (left >= kFacts[at].weight) left -= kFacts[at++].weight;
  const auto kind = static_cast<SoakKind>(at);
  const bool there = nothing_written_ || model_.can_roll_back();
  if (kind == SoakKind::kRollback && !there) return SoakKind::kLateRollback;
  if (kind == SoakKind::kPartial && !versions_.partial_step(current_)) return SoakKind::kFull;
  if (kind == SoakKind::kDelta && !versions_.delta_step(current_)) return SoakKind::kFull;
  return kind;
}

Result<SoakEvent> SoakUpdates::next() {
  const SoakKind kind = draw();
  return settle(kind, run(kind));
}

Result<UpdateReport> SoakUpdates::run(SoakKind kind) {
  switch (kind) {
    case SoakKind::kFull:
      return take_full();
    case SoakKind::kPieces:
      return take_pieces();
    case SoakKind::kPartial:
      return take_partial();
    case SoakKind::kDelta:
      return take_delta();
    case SoakKind::kAbort:
      LW_TRY(give_up());
      return UpdateReport{};
    case SoakKind::kRollback:
    case SoakKind::kLateRollback:
      LW_TRY(roll_back());
      return UpdateReport{};
    default:
      return take_bad(kind);
  }
}

Result<Checkpoint> SoakUpdates::open(size_t version) const {
  return Checkpoint::open(versions_.all()[version].directory);
}

size_t SoakUpdates::draw_other() {
  const size_t count = versions_.all().size();
  return (current_ + 1 + draw_below(random_, count - 1)) % count;
}

UpdateOptions SoakUpdates::options_for(size_t to) {
  target_ = to;
  UpdateOptions options;
  options.label = versions_.all()[to].name;
  return options;
}

Result<UpdateReport> SoakUpdates::take_full() {
  UpdateOptions options = options_for(draw_other());
  LW_ASSIGN(const Checkpoint checkpoint, open(target_));
  return reload(model_, checkpoint, {}, std::move(options));
}

Result<UpdateReport> SoakUpdates::take_pieces() {
  UpdateOptions options = options_for(draw_other());
  LW_ASSIGN(const Checkpoint checkpoint, open(target_));
  LW_ASSIGN(Update update, model_.begin_update(std::move(options)));
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!is_ignored_tensor(tensor.name)) LW_TRY(put_in_runs(update, tensor, random_));
  }
  return update.commit();
}

Result<UpdateReport> SoakUpdates::take_partial() {
  SoakStep step = *versions_.partial_step(current_);
  UpdateOptions options = options_for(step.to);
  options.scope = step.scope;
  LW_ASSIGN(const Checkpoint checkpoint, open(target_));
  LW_ASSIGN(Update update, model_.begin_update(std::move(options)));
  for (const std::string& name : step.scope) LW_TRY(update.borrow(name, checkpoint.find(name)->view));
  return update.commit();
}

Result<UpdateReport> SoakUpdates::take_delta() {
  const SoakStep step = *versions_.delta_step(current_);
  const std::string& name = versions_.all()[current_].name;
  if (!mirror_is_current_) {
    LW_ASSIGN(const Checkpoint checkpoint, open(current_));
    LW_TRY(mirror_checkpoint(model_, mirror_, checkpoint, {}, name));
    mirror_is_current_ = true;
  }
  UpdateOptions options = options_for(step.to);
  LW_ASSIGN(const DeltaDirectory delta, DeltaDirectory::open(step.directory));
  LW_ASSIGN(const DeltaReport report, reload_delta(model_, delta, name, {}, std::move(options)));
  return report.update;
}

Result<UpdateReport> SoakUpdates::take_bad(SoakKind kind) {
  UpdateOptions options = options_for(draw_other());
  LW_ASSIGN(const Checkpoint checkpoint, open(target_));
  const std::string& victim = versions_.tensors()[draw_below(random_, versions_.tensors().size())];
  std::vector<std::byte> changed;
  nothing_written_ = false;
  LW_ASSIGN(Update update, model_.begin_update(std::move(options)));
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (is_ignored_tensor(tensor.name)) continue;
    TensorView view = tensor.view;
    if (tensor.name == victim) {
      if (kind == SoakKind::kMissing) continue;
      if (kind == SoakKind::kWrongShape) view = without_a_row(view);
      if (kind == SoakKind::kWrongDtype) view.dtype = view.dtype == DType::kF32 ? DType::kI32 : DType::kI16;
      if (kind == SoakKind::kNan) view = with_nan(view, changed, random_);
    }
    LW_TRY(update.borrow(tensor.name, view));
  }
  return update.commit();
}

// After some of its tensors, staged or not, by a call or by letting go of it.
Status SoakUpdates::give_up() {
  UpdateOptions options = options_for(draw_other());
  LW_ASSIGN(const Checkpoint checkpoint, open(target_));
  nothing_written_ = false;
  LW_ASSIGN(Update update, model_.begin_update(std::move(options)));
  for (size_t left = draw_below(random_, checkpoint.tensors().size() + 1); left > 0; --left) {
    const CheckpointTensor& tensor = checkpoint.tensors()[left - 1];
    if (!is_ignored_tensor(tensor.name)) LW_TRY(update.borrow(tensor.name, tensor.view));
  }
  if (draw_below(random_, 2) == 0) LW_TRY(update.stage());
  if (draw_below(random_, 2) == 0) update.abort();
  return {};
}

Status SoakUpdates::roll_back() {
  LW_TRY(model_.rollback());
  return {};
}

// What has to have come of it, and where the model is now.
Result<SoakEvent> SoakUpdates::settle(SoakKind kind, const Result<UpdateReport>& report) {
  const Facts& facts = facts_of(kind);
  SoakEvent event{kind, {}};
  if (facts.outcome == SoakOutcome::kRefused) {
    if (report) return broken(kind, "it was taken, and had to be refused");
    if (report.error().code != facts.reason) {
      return broken(kind, fmt::format("expected it to be refused as {}, got {}: {}", to_string(facts.reason),
                                      to_string(report.error().code), report.error().message));
    }
  } else if (!report) {
    return broken(kind, fmt::format("it failed: {}", report.error().message));
  }
  if (facts.outcome == SoakOutcome::kTaken) {
    event.pause_us = report->pause_us;
    note_taken(kind);
    if (kind == SoakKind::kDelta && draw_below(random_, 2) == 0) {
      nothing_written_ = false;
      if (const Status status = model_.catch_up(); !status) return broken(kind, status.error().message);
    }
  }
  if (facts.outcome == SoakOutcome::kRolledBack) note_rolled_back();
  LW_TRY(check_version());
  return event;
}

void SoakUpdates::note_taken(SoakKind kind) {
  previous_ = std::exchange(current_, target_);
  ++number_;
  nothing_written_ = true;
  last_was_delta_ = kind == SoakKind::kDelta;
  mirror_is_current_ = last_was_delta_;
}

// The mirror goes back over a delta, once.
void SoakUpdates::note_rolled_back() {
  std::swap(current_, previous_);
  ++number_;
  nothing_written_ = true;
  mirror_is_current_ = std::exchange(last_was_delta_, false);
}

Status SoakUpdates::check_version() const {
  const Version version = model_.version();
  const std::string& name = versions_.all()[current_].name;
  if (version.number == number_ && version.label == name) return {};
  return fail(ErrorCode::kInternal, fmt::format("expected the model to be at version {} ({}), got {} ({})",
                                                number_, name, version.number, version.label));
}

Status SoakUpdates::check_digest() const {
  LW_ASSIGN(const ModelDigest digest, digest_of(model_));
  const SoakVersion& version = versions_.all()[current_];
  if (digest.model == version.digest) return {};
  return fail(ErrorCode::kInternal,
              fmt::format("version {} ({}): a cold load gives the digest {}, got {}", number_, version.name,
                          version.digest.hex(), digest.model.hex()));
}

}  // namespace liveweight::bench
