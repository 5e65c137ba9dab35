#include "liveweight/live_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/threads.h"
#include "live/model_state.h"

namespace liveweight {
namespace {

constexpr uint64_t kSlotAlignment = 128;
struct SwapChunk {
  std::byte* first;
  std::byte* second;
  uint64_t bytes;
};

}  // namespace

Snapshot::Snapshot(Snapshot&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), state_(std::exchange(other.state_, nullptr)) {}

Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(state_, other.state_);
  return *this;
}

Snapshot::~Snapshot() {
  if (state_) Versions::leave(*state_);
}

std::byte* LiveModel::Implementation::next_slot(int32_t parameter) const {
  if (plan->mode() == CommitMode::kInPlace) return slot(parameter, 0);
  if (plan->mode() == CommitMode::kCopy) return slot(parameter, 1);
  const Snapshot::State* current = versions.current();
  const bool uses_first = current && current->table.slots[parameter] == slot(parameter, 0);
  return slot(parameter, uses_first ? 1 : 0);
}

void LiveModel::Implementation::swap_slots(const std::vector<int32_t>& parameters) const {
  constexpr uint64_t kChunk = 1 << 20;
  std::vector<SwapChunk> chunks;
  for (const int32_t p : parameters) {
    const uint64_t bytes = plan->parameters()[p].format->bytes;
    for (uint64_t at = 0; at < bytes; at += kChunk) {
      chunks.push_back({slot(p, 0) + at, slot(p, 1) + at, std::min(kChunk, bytes - at)});
    }
  }
  ThreadPool::shared().parallel_for(static_cast<int64_t>(chunks.size()), [&](int64_t i) {
    std::swap_ranges(chunks[i].first, chunks[i].first + chunks[i].bytes, chunks[i].second);
  });
}

LiveModel::LiveModel() : implementation_(std::make_unique<Implementation>()) {}
LiveModel::~LiveModel() = default;

Result<std::unique_ptr<LiveModel>> LiveModel::create(std::shared_ptr<const Plan> plan) {
  std::unique_ptr<LiveModel> model(new LiveModel);
  Implementation& state = *model->implementation_;
  uint64_t bytes = 0;
  for (const PlannedParameter& parameter : plan->parameters()) {
    state.offsets.push_back(bytes);
    bytes += (parameter.format->bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
  }
  state.plan = std::move(plan);
  state.lags.resize(state.plan->parameters().size());
  state.maxima.emplace(state.tables());
  state.undos.resize(state.plan->parameters().size());
  state.forgotten_undos.resize(state.plan->parameters().size());
  const int slots = state.plan->mode() == CommitMode::kInPlace ? 1 : 2;
  for (int i = 0; i < slots; ++i) {
    LW_ASSIGN(state.arenas[i], Buffer::allocate(bytes));
  }
  return model;
}

const Plan& LiveModel::plan() const {
  return *implementation_->plan;
}

Result<Snapshot> LiveModel::pin() const {
  Snapshot snapshot;
  snapshot.state_ = implementation_->versions.enter();
  if (!snapshot.state_)
    return fail(ErrorCode::kFailedState, "the model has no version: no update has been committed");
  snapshot.table_ = &snapshot.state_->table;
  return snapshot;
}

Version LiveModel::version() const {
  std::lock_guard lock(implementation_->mutex);
  return implementation_->versions.version_of(implementation_->versions.current());
}

std::string LiveModel::label_of(uint64_t version_number) const {
  return implementation_->versions.label_of(version_number);
}

const std::byte* LiveModel::slot_address(int64_t parameter, int slot) const {
  return implementation_->slot(static_cast<int32_t>(parameter), slot);
}

Status LiveModel::attach_mirror(std::shared_ptr<Mirror> mirror, std::optional<uint64_t> version_number) {
  std::lock_guard lock(implementation_->mutex);
  if (implementation_->update_open) return fail(ErrorCode::kBusy, "attach_mirror: an update is open");
  const uint64_t current = implementation_->versions.version_of(implementation_->versions.current()).number;
  if (version_number && *version_number != current) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("attach_mirror: it is of version {}, but the current one is {}", *version_number,
                            current));
  }
  implementation_->mirror = std::move(mirror);
  implementation_->mirror_sequence.reset();
  implementation_->previous_mirror_sequence.reset();
  if (implementation_->mirror) implementation_->mirror_sequence = implementation_->mirror->sequence();
  implementation_->last_was_delta = false;
  implementation_->mirror_to_revert.reset();
  return {};
}

std::shared_ptr<Mirror> LiveModel::mirror() const {
  std::lock_guard lock(implementation_->mutex);
  return implementation_->mirror;
}

}  // namespace liveweight
