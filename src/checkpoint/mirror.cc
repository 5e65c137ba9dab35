#include "liveweight/mirror.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/guarded.h"
#include "checkpoint/mirror_files.h"
#include "checkpoint/mirror_sums.h"
#include "checkpoint/part_sums.h"

namespace liveweight {
namespace {

constexpr uint64_t kShortestLog = uint64_t{1} << 20;
constexpr uint64_t kLogShare = 16;  // of the weights' bytes, from which on a log is begun anew

}  // namespace

struct Mirror::State {
  std::optional<MirrorContent> content;
  uint64_t sequence = 0;
  std::string version;
  MirrorOrigin origin;
  std::optional<MirrorChange> pending;                // noted, not yet in the bytes
  std::optional<std::vector<TensorDelta>> previous;   // what the last change overwrote
  std::optional<std::vector<TensorDelta>> forgotten;  // let go behind the commit: many small pieces of memory
  std::string previous_version;
  std::set<uint64_t> reverted;  // states that the change after them took back

  // On disk only.
  std::optional<MirrorFiles> files;
  MirrorSums sums;
  uint64_t log_bytes = 0;
  uint64_t log_identity = 0;  // of the file that this state was read from, and its length; 0: none
  bool log_on_disk = false;   // all of what was read: its writer may have been killed before it was
  std::string boot = boot_of_machine();

  Status map_generation() {
    LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open_file(files->weights()));
    LW_ASSIGN(MirrorContent mapped, MirrorContent::map(checkpoint, same_name, Mapping::Access::kShared));
    LW_ASSIGN(sums, MirrorSums::open(files->sums(), mapped.parts));
    content = std::move(mapped);
    return {};
  }

  // Whatever was put into the bytes was in the log before, on disk, and what the log begins with was in them:
  // no crash leaves them at another state.
  Status check_reach(const MirrorLogContent& log) const {
    uint64_t last = log.sequence;
    for (const MirrorChange& change : log.changes) {
      if (change.has_sums) last = change.sequence;
    }
    if (log.sequence <= sums.sequence() && sums.sequence() <= last) return {};
    return damaged_mirror(
        ErrorCode::kBadCheckpoint, files->log(),
        fmt::format("it tells of the states {} to {}, but {}, that the tensors were changed to state {}",
                    log.sequence, last, files->sums().string(), sums.sequence()));
  }

  // Brings this up to what is on disk. Holding the lock alone (`may_write`), also repeats what was cut short.
  Status read(bool may_write) {
    LW_ASSIGN(const std::string current, files->current());
    if (current.empty()) return {};
    if (current != files->generation() || !content) {
      content.reset();
      reverted.clear();
      log_identity = 0;
      files->select(current);
    }
    if (log_identity != 0 && log_identity == identity_of_log(files->log(), log_bytes)) return {};
    log_identity = 0;
    log_on_disk = false;
    LW_ASSIGN(MirrorLogContent log, read_mirror_log(files->log()));
    if (!content) LW_TRY(map_generation());
    LW_TRY(check_reach(log));
    for (MirrorChange& change : log.changes) LW_TRY(content->complete(change.deltas));
    log_bytes = log.bytes;
    if (log.last_sequence() != sequence) previous.reset();
    sequence = log.last_sequence();
    for (const MirrorChange& change : log.changes) {
      if (change.takes_back) reverted.insert(change.sequence - 1);
    }
    version = log.changes.empty() ? log.version : log.changes.back().version;
    origin = std::move(log.origin);
    pending.reset();
    if (may_write) LW_TRY(repeat(log));
    if (!log.changes.empty() && log.changes.back().settled_in != boot)
      pending = std::move(log.changes.back());
    note_log();
    return {};
  }

  // Changes whose bytes may not all have arrived are put in again, in order; their sums are in the log. Then
  // the parts that the log speaks of must be what it says.
  Status repeat(MirrorLogContent& log) {
    size_t first = log.changes.size();
    while (first > 0 && log.changes[first - 1].settled_in != boot) --first;
    // A change without sums is the last, and nothing was written for it.
    for (size_t i = first; i < log.changes.size() && log.changes[i].has_sums; ++i) {
      MirrorChange& change = log.changes[i];
      LW_TRY(bring_log_to_disk());
      LW_TRY(put(change));
      change.settled_in = boot;
      if (i + 1 == log.changes.size()) LW_TRY(append(append_settled, change));
    }
    std::vector<uint64_t> parts;
    for (const MirrorChange& change : log.changes) {
      for (const auto& [part, sum] : change.sums) parts.push_back(part);
    }
    return verify(parts);
  }

  // On disk its sums must be in the log before.
  Status put(const MirrorChange& change) {
    if (files) sums.begin(change.sequence);
    LW_TRY(content->put(change.deltas));
    LW_TRY(check_whole());
    return files ? store_sums(change) : Status{};
  }

  Status check_part(uint64_t part) const {
    if (part < sums.all().size()) return {};
    return damaged_mirror(ErrorCode::kBadCheckpoint, files->log(),
                          fmt::format("it changes part {} of {}", part, sums.all().size()));
  }

  Status store_sums(const MirrorChange& change) const {
    for (const auto& [part, sum] : change.sums) {
      LW_TRY(check_part(part));
      sums.all()[part] = sum;
    }
    return {};
  }

  Status verify(std::span<const uint64_t> parts) const {
    for (const uint64_t part : parts) {
      LW_TRY(check_part(part));
      if (content->sum_of(part) == sums.all()[part]) continue;
      const MirrorTensor& tensor = content->of_part(part);
      return damaged_mirror(ErrorCode::kDigestMismatch, files->weights(),
                            fmt::format("tensor {}: its part {} is not what its checksum says", tensor.name,
                                        part - tensor.first_part),
                            tensor.name);
    }
    return {};
  }

  Status record(std::vector<TensorDelta> deltas, std::string label, uint64_t base, bool takes_back);

  Status check_whole() const {
    for (const Mapping& file : content->files) LW_TRY(file.check_whole());
    return sums.check_whole();
  }

  // Where this fails, what is pending stays so, and can be put in again.
  Status settle() {
    forgotten.reset();
    if (!pending) return {};
    if (!pending->has_sums) {
      previous = content->before(pending->deltas);
      LW_TRY(log_sums());
    }
    LW_TRY(put(*pending));
    if (files) {
      pending->settled_in = boot;
      LW_TRY(append(append_settled, *pending));
      note_log();
    }
    pending.reset();
    return shorten_log();
  }

  // Sums first, on disk before any byte changes: from then on the change can be repeated.
  Status log_sums() {
    if (files) {
      MirrorChange change = *pending;
      std::vector<uint64_t> next(sums.all().begin(), sums.all().end()), touched;
      for (const TensorDelta& delta : change.deltas) {
        const MirrorTensor& tensor = *content->find(delta.name);
        add_change(tensor.bytes, tensor.first_part, delta, next, touched);
      }
      for (const uint64_t part : touched) change.sums.emplace_back(part, next[part]);
      LW_TRY(append(append_sums, change));
      note_log();
      pending->sums = std::move(change.sums);
    }
    pending->has_sums = true;
    return {};
  }

  // Other ranks are to find there what was taken back.
  Status shorten_log() {
    if (!files || reverted.contains(sequence - 1)) return {};
    uint64_t bytes = 0;
    for (const Mapping& file : content->files) bytes += file.bytes().size();
    if (log_bytes < std::max(kShortestLog, bytes / kLogShare)) return {};
    for (const Mapping& file : content->files) LW_TRY(file.sync());
    LW_TRY(sums.sync());
    log_identity = 0;
    LW_ASSIGN(log_bytes, begin_mirror_log(files->log(), sequence, version, origin));
    note_log();
    return {};
  }

  // This state is what the log says: it need not be read again until somebody else writes it. Whatever fails
  // before it came to that leaves it to be read again, want of memory for this too.
  void note_log() noexcept {
    log_identity =
        guarded([&]() -> Result<uint64_t> { return identity_of_log(files->log(), log_bytes); }).value_or(0);
  }

  // So no more than one record at a time is on its way there.
  Status bring_log_to_disk() {
    if (!log_on_disk) LW_TRY(sync_log(files->log()));
    log_on_disk = true;
    return {};
  }

  template <typename Append>
  Status append(const Append& record, const MirrorChange& change) {
    log_identity = 0;
    LW_TRY(bring_log_to_disk());
    LW_ASSIGN(log_bytes, record(files->log(), log_bytes, change));
    return {};
  }

  Result<std::optional<FileLock>> lock(FileLock::Kind kind) const {
    if (!files) return std::optional<FileLock>();
    LW_ASSIGN(FileLock taken, FileLock::take(files->lock(), kind));
    return std::optional<FileLock>(std::move(taken));
  }
};

Result<std::string> same_name(std::string_view name) {
  return std::string(name);
}

Mirror::Mirror(std::unique_ptr<State> state) : state_(std::move(state)) {}
Mirror::~Mirror() = default;

Result<std::shared_ptr<Mirror>> Mirror::in_memory(const Checkpoint& checkpoint, const TensorNames& names) {
  auto mirror = std::shared_ptr<Mirror>(new Mirror(std::make_unique<State>()));
  LW_TRY(mirror->replace(checkpoint, names, ""));
  return mirror;
}

Result<std::shared_ptr<Mirror>> Mirror::open(const std::filesystem::path& directory) {
  auto mirror = std::shared_ptr<Mirror>(new Mirror(std::make_unique<State>()));
  State& state = *mirror->state_;
  state.files.emplace(directory);
  LW_TRY(state.files->create());
  LW_TRY(state.files->current());
  LW_ASSIGN(const auto lock, state.lock(FileLock::Kind::kExclusive));
  LW_TRY(state.read(true));
  return mirror;
}

bool Mirror::empty() const {
  return !state_->content;
}
uint64_t Mirror::sequence() const {
  return state_->sequence;
}
const std::string& Mirror::version() const {
  return state_->version;
}
const std::string& Mirror::origin() const {
  return state_->origin.version;
}

Status Mirror::check_origin(const Checkpoint& checkpoint, const TensorNames& names) const {
  if (!state_->files || empty()) return {};
  LW_ASSIGN(const MirrorContent content, MirrorContent::map(checkpoint, names, Mapping::Access::kRead));
  const uint64_t sample = sample_of(content.parts, [&](uint64_t part) { return content.sum_of(part); });
  if (sample == state_->origin.sample) return {};
  const std::string directory = state_->files->directory().string();
  return fail(
      ErrorCode::kStaleVersion,
      fmt::format("{}: the mirror was made of another version {} than {}: another run left it; remove "
                  "it, and it is made anew",
                  directory, origin(), checkpoint.directory().string()),
      {directory});
}

bool Mirror::has_previous_values() const {
  return state_->pending && !state_->pending->has_sums;
}

bool Mirror::unsettled() const {
  return state_->pending.has_value();
}

std::vector<CheckpointTensor> Mirror::tensors() const {
  std::vector<CheckpointTensor> all;
  if (empty()) return all;
  for (const MirrorTensor& tensor : state_->content->tensors) all.push_back({tensor.name, tensor.view(), ""});
  return all;
}

Result<Checkpoint> Mirror::checkpoint() const {
  if (state_->files && !empty()) {
    LW_TRY(verify());
    return Checkpoint::open_file(state_->files->weights());
  }
  return fail(ErrorCode::kFailedState, "the mirror is not on disk, or empty");
}

bool Mirror::contains(std::string_view name) const {
  return !empty() && state_->content->find(name);
}

TensorView Mirror::find(std::string_view name) const {
  const MirrorTensor* tensor = empty() ? nullptr : state_->content->find(name);
  return tensor ? tensor->view() : TensorView{};
}

Status Mirror::replace(const Checkpoint& checkpoint, const TensorNames& names, std::string version) {
  State& state = *state_;
  LW_ASSIGN(const auto lock, state.lock(FileLock::Kind::kExclusive));
  if (state.files) {
    LW_TRY(state.read(true));
    LW_TRY(state.files->write(checkpoint, names, state.sequence + 1, version));
    state.content.reset();
    return state.read(true);
  }
  LW_ASSIGN(state.content, MirrorContent::map(checkpoint, names, Mapping::Access::kPrivate));
  ++state.sequence;
  state.version = std::move(version);
  state.pending.reset();
  state.previous.reset();
  return {};
}

Status Mirror::record(std::vector<TensorDelta> deltas, std::string version, uint64_t base) {
  return state_->record(std::move(deltas), std::move(version), base, false);
}

Status Mirror::State::record(std::vector<TensorDelta> deltas, std::string label, uint64_t base,
                             bool takes_back) {
  LW_ASSIGN(const auto alone, lock(FileLock::Kind::kExclusive));
  if (files) LW_TRY(read(true));
  if (!content) return fail(ErrorCode::kFailedState, "the mirror is empty");
  if (!takes_back && sequence == base + 1 && !label.empty() && version == label) return {};
  if (sequence != base) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("the change is of the mirror's state {}, which is at {} (version {}) now", base,
                            sequence, version));
  }
  LW_TRY(content->check(deltas));
  LW_TRY(settle());
  MirrorChange change{sequence + 1, std::move(label), std::move(deltas), {}, false, {}, takes_back};
  std::string copy = change.version;
  std::set<uint64_t> taken_back;
  if (takes_back) taken_back.insert(base);
  if (files) LW_TRY(append(append_change, change));
  forgotten = std::exchange(previous, std::nullopt);
  reverted.merge(taken_back);
  previous_version = std::exchange(version, std::move(copy));
  sequence = change.sequence;
  pending = std::move(change);
  if (files) note_log();
  return {};
}

Status Mirror::settle() {
  LW_ASSIGN(const auto lock, state_->lock(FileLock::Kind::kExclusive));
  if (state_->files) LW_TRY(state_->read(true));
  return state_->settle();
}

bool Mirror::has_reverted(uint64_t sequence) const {
  return state_->reverted.contains(sequence);
}

Status Mirror::revert(uint64_t sequence) {
  LW_TRY(settle());
  if (has_reverted(sequence)) return {};
  if (state_->sequence != sequence) {
    return fail(ErrorCode::kStaleVersion, fmt::format("the mirror's state {} is not its last, which is {}",
                                                      sequence, state_->sequence));
  }
  if (!state_->previous) {
    return fail(ErrorCode::kFailedState, "the mirror does not have the version before its own");
  }
  LW_TRY(state_->record(*state_->previous, state_->previous_version, sequence, true));
  // It is noted, and that is enough: where its bytes cannot be put in now, they will be later.
  static_cast<void>(settle());
  return {};
}

Result<std::shared_ptr<void>> Mirror::hold() {
  if (!state_->files) return std::shared_ptr<void>();
  LW_ASSIGN(FileLock lock, FileLock::take(state_->files->lock(), FileLock::Kind::kShared));
  LW_TRY(state_->read(false));
  return std::make_shared<FileLock>(std::move(lock));
}

Status Mirror::check_whole() const {
  return empty() ? Status{} : state_->check_whole();
}

Status Mirror::verify() const {
  const State& state = *state_;
  if (!state.files || empty()) return {};
  LW_ASSIGN(const auto lock, state.lock(FileLock::Kind::kShared));
  const std::vector<uint64_t> now = sums_of(*state.content);
  for (uint64_t part = 0; part < now.size(); ++part) {
    if (now[part] != state.sums.all()[part]) return state.verify(std::span(&part, 1));
  }
  return {};
}

}  // namespace liveweight
