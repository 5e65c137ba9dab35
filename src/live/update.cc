#include "liveweight/update.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/seam.h"
#include "live/coverage.h"
#include "live/digest_table.h"
#include "live/model_state.h"
#include "live/staging.h"
#include "live/update_state.h"

namespace liveweight {
Update::Update(std::shared_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Update::Update(Update&&) noexcept = default;

Update& Update::operator=(Update&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

Update::~Update() {
  abort();
}

Status Update::put(std::string_view name, const TensorView& tensor) {
  return implementation_->take(name, false,
                               [&](const Source& source) { return whole_pieces(source, tensor); });
}

Status Update::put(std::string_view name, const TensorView& piece, const Region& region) {
  return implementation_->take(name, false,
                               [&](const Source& source) { return region_pieces(source, piece, region); });
}

Status Update::put_flat(std::string_view name, const TensorView& piece, int64_t first_element) {
  return implementation_->take(
      name, false, [&](const Source& source) { return flat_pieces(source, piece, first_element); });
}

Status Update::borrow(std::string_view name, const TensorView& tensor) {
  return implementation_->take(name, true,
                               [&](const Source& source) { return whole_pieces(source, tensor); });
}

Status Update::borrow(const Checkpoint& checkpoint, const NameMap& names) {
  return implementation_->take_checkpoint(checkpoint, names);
}

Status Update::put_delta(const TensorDelta& delta) {
  return put_deltas(std::span(&delta, 1));
}

Status Update::put_deltas(std::span<const TensorDelta> deltas) {
  return implementation_->take_deltas(deltas);
}

Status Update::stage() {
  return implementation_->stage();
}
Status Update::prepare() {
  return implementation_->prepare();
}
Result<UpdateReport> Update::commit() {
  return implementation_->commit();
}

Status Update::check_mirror() const {
  return implementation_->check_mirror();
}

void Update::abort() {
  if (implementation_) implementation_->close();
}

Status Update::Implementation::take(std::string_view name, bool borrowed, const PiecesOf& pieces_of) {
  return attempt([&] { return take_pieces(name, borrowed, pieces_of); });
}

// Which tensor it is and that it fits, and that none of it came before.
Result<int32_t> Update::Implementation::account_for(std::string_view name, const PiecesOf& pieces_of,
                                                    PieceList& pieces) {
  LW_TRY(reach(Step::kChunk));
  if (prepared)
    return fail(ErrorCode::kFailedState, fmt::format("tensor {}: the update is prepared already", name),
                {std::string(name)});
  LW_ASSIGN(const int32_t index, coverage->find(name));
  LW_ASSIGN(pieces, pieces_of(model.tables().sources[index]));
  LW_TRY(coverage->add(index, pieces));
  return index;
}

Status Update::Implementation::take_pieces(std::string_view name, bool borrowed, const PiecesOf& pieces_of) {
  PieceList pieces;
  LW_ASSIGN(const int32_t index, account_for(name, pieces_of, pieces));
  LW_TRY(compare_with_mirror(index, pieces));
  touch(index, false);
  for (const Piece& piece : pieces) {
    if (piece.rows == 0 || piece.cols == 0) continue;
    if (model.tables().sources[index].alias_of >= 0) {
      LW_TRY(staging->keep_alias(index, piece, borrowed));
    } else if (borrowed) {
      staging->borrow(index, piece);
    } else {
      if (model.plan->mode() == CommitMode::kInPlace) LW_TRY(shut_fence(true));
      LW_TRY(staging->put(index, piece));
    }
  }
  return {};
}

Status Update::Implementation::shut_fence(bool overwrites) {
  std::lock_guard lock(fence_mutex);
  if (fenced) return {};
  if (!model.versions.shut_gate(options.reader_timeout)) {
    return fail(ErrorCode::kBusy, "readers did not let go of the current version in time");
  }
  fence_start = Clock::now();
  fenced = true;
  // From here on the current version is being overwritten: whoever comes next must find none.
  if (overwrites) model.versions.publish(nullptr);
  return {};
}

// Whoever waits for a version comes through: to the one that is current, or to the news that there is none.
void Update::Implementation::open_fence() {
  std::lock_guard lock(fence_mutex);
  if (fenced) model.versions.open_gate();
  fenced = false;
}

Status Update::Implementation::stage() {
  return attempt([&] { return stage_now(false); });
}

Status Update::Implementation::stage_now(bool last) {
  const auto start = Clock::now();
  Status status = stage_all(last);
  report.stage_seconds += seconds_since(start);
  return status;
}

Status Update::Implementation::stage_all(bool last) {
  LW_TRY(reach(Step::kStage));
  LW_TRY(staging->settle_aliases([&](int32_t source) { return coverage->any(source); }, last));
  // In place there is no second slot: borrowed tensors are written only after everything was proved.
  if (model.plan->mode() == CommitMode::kInPlace) return {};
  LW_TRY(staging->run());
  if (last && !staging->done()) {
    return fail(ErrorCode::kInternal,
                "every element came, but some wait for others: they were not quantized");
  }
  return deltas->tensors() == 0 ? Status{} : stage_deltas();
}

Status Update::Implementation::prepare() {
  return attempt([&] { return prepare_now(); });
}

Status Update::Implementation::prepare_now() {
  if (prepared) return {};
  // Cheap proofs first: what is missing should not cost a pass over the rest.
  LW_TRY(coverage->require_all());
  LW_TRY(coverage->require_ties_alike());
  LW_TRY(check_whole_matrices());
  LW_TRY(stage_now(true));
  const auto start = Clock::now();
  Status status = prove();
  report.prepare_seconds += seconds_since(start);
  prepared = status.has_value();
  return status;
}

Status Update::Implementation::prove() {
  LW_TRY(reach(Step::kPrepare));
  if (model.plan->mode() == CommitMode::kInPlace) {
    if (options.expected_digest) {
      return fail(ErrorCode::kUnsupported,
                  "expected_digest: in the mode in_place it cannot be checked before the commit");
    }
    LW_TRY(staging->check());
  }
  LW_TRY(verify_source());
  if (!options.expected_digest) return {};
  const Digest digest = digest_of_slots(*model.plan, next_slots()).model;
  if (digest == *options.expected_digest) return {};
  return fail(ErrorCode::kDigestMismatch,
              fmt::format("expected the model's digest after the update to be {}, got {}",
                          options.expected_digest->hex(), digest.hex()));
}

std::vector<const std::byte*> Update::Implementation::next_slots() const {
  std::vector<const std::byte*> slots;
  for (int32_t p = 0; p < static_cast<int32_t>(model.offsets.size()); ++p) {
    slots.push_back(touched[p] || !base ? model.next_slot(p) : base->table.slots[p]);
  }
  return slots;
}

Status Update::Implementation::verify_source() const {
  return options.verify_source ? options.verify_source() : Status();
}

Result<UpdateReport> Update::Implementation::commit() {
  LW_TRY(attempt([&] { return commit_now(); }));
  close();
  return report;
}

Status Update::Implementation::commit_now() {
  LW_TRY(prepare_now());
  LW_TRY(record_in_mirror());
  const auto start = Clock::now();
  std::lock_guard lock(model.mutex);
  fill_report();
  LW_TRY(model.plan->mode() == CommitMode::kFlip ? commit_flip() : commit_fenced());
  report.commit_seconds = seconds_since(start);
  return {};
}

void Update::Implementation::fill_report() {
  report.version = {model.versions.next_number(), options.label};
  report.tensors = coverage->tensors();
  report.source_bytes = coverage->source_bytes();
  report.changed_elements = deltas->counts().changed_elements;
  report.whole_units = deltas->counts().units;
  report.mirror_bytes = deltas->counts().mirror_bytes;
  report.in_mirror = mirror_recorded.has_value();
  report.extra_peak_bytes = model.next_slot_bytes() + staging->peak_bytes();
  const uint64_t budget = staging->peak_bytes() > 0 ? options.staging_budget_bytes : 0;
  report.predicted_extra_peak_bytes = model.plan->extra_peak_bytes() + budget;
}

// Of the version that will be the current one.
BindingTable Update::Implementation::next_table(std::vector<const std::byte*> slots) const {
  const uint64_t number = report.version.number;
  std::vector<uint64_t> versions(slots.size(), number);
  for (size_t p = 0; p < slots.size(); ++p) {
    if (!touched[p] && base) versions[p] = base->table.parameter_versions[p];
  }
  return {number, std::move(slots), std::move(versions)};
}

// In place of the version before.
void Update::Implementation::publish(BindingTable table, std::string label) noexcept {
  Snapshot::State& next = model.versions.other();
  model.versions.set(next, std::move(table), std::move(label));
  model.versions.publish(&next);
}

Status Update::Implementation::commit_flip() {
  BindingTable table = next_table(next_slots());
  std::string label = options.label;
  std::vector<int32_t> list = touched_list();
  LW_TRY(reach(Step::kFlip));
  const auto start = Clock::now();
  publish(std::move(table), std::move(label));
  finish_commit(std::move(list), base != nullptr, start);
  return {};
}

Status Update::Implementation::commit_fenced() {
  const bool in_place = model.plan->mode() == CommitMode::kInPlace;
  LW_TRY(shut_fence(false));
  std::vector<const std::byte*> slots;
  for (int32_t p = 0; p < static_cast<int32_t>(model.offsets.size()); ++p) slots.push_back(model.slot(p, 0));
  BindingTable table = next_table(std::move(slots));
  std::string label = options.label;
  std::vector<int32_t> list = touched_list();
  if (in_place) {
    model.versions.publish(nullptr);
    LW_TRY(staging->run());
    LW_TRY(verify_source());
    LW_TRY(reach(Step::kFlip));
  } else {
    LW_TRY(reach(Step::kFlip));
    model.swap_slots(list);
  }
  publish(std::move(table), std::move(label));
  open_fence();
  finish_commit(std::move(list), base && !in_place, fence_start);
  return {};
}

// From here on nothing fails: the new version is there.
void Update::Implementation::finish_commit(std::vector<int32_t> list, bool can_roll_back,
                                           Clock::time_point start) noexcept {
  report.pause_us = seconds_since(start) * 1e6;
  model.forget_previous();
  model.previous_valid = can_roll_back;
  model.last_touched = std::move(list);
  model.last_was_delta = mirror_recorded.has_value();
  model.previous_mirror_sequence = std::exchange(model.mirror_sequence, mirror_recorded);
  model.mirror_to_revert.reset();  // what it would go back to is not the current version any more
  for (const int32_t p : model.last_touched) {
    model.lags[p].shorten(model.plan->parameters()[p].format->bytes);
  }
  committed = true;
}

std::vector<int32_t> Update::Implementation::touched_list() const {
  std::vector<int32_t> list;
  for (size_t p = 0; p < touched.size(); ++p) {
    if (touched[p]) list.push_back(static_cast<int32_t>(p));
  }
  return list;
}

Status Update::Implementation::first_error() {
  std::lock_guard lock(error_mutex);
  if (error) return tl::unexpected(*error);
  if (committed) return fail(ErrorCode::kFailedState, "the update is committed already");
  if (closed) return fail(ErrorCode::kAborted, "the update was aborted");
  return {};
}

Status Update::Implementation::fail_with(Error why) {
  open_fence();
  std::lock_guard lock(error_mutex);
  if (!error) error = std::move(why);
  return tl::unexpected(*error);
}

void Update::Implementation::close() noexcept {
  std::lock_guard lock(model.mutex);
  if (closed) return;
  open_fence();
  model.update_open = false;
  if (mirror_recorded && !committed) model.revert_mirror(*mirror_recorded);
  closed = true;
}

}  // namespace liveweight
