// The part of an update that takes a whole checkpoint.
#include <vector>

#include "live/parallel_jobs.h"
#include "live/update_state.h"
#include "liveweight/checkpoint.h"
#include "liveweight/model.h"

namespace liveweight {

Status Update::Implementation::take_checkpoint(const Checkpoint& checkpoint, const NameMap& names) {
  return attempt([&] { return borrow_all(checkpoint, names); });
}

Status Update::Implementation::borrow_all(const Checkpoint& checkpoint, const NameMap& names) {
  constexpr int64_t kAtATime = 512;
  const std::vector<CheckpointTensor>& tensors = checkpoint.tensors();
  std::vector<Staging::Queued> found(tensors.size());
  const auto look_up = [&](int64_t job) -> Status {
    const auto i = static_cast<size_t>(job);
    std::string storage;
    LW_ASSIGN(const std::string_view name, names.canonical(tensors[i].name, storage));
    if (is_ignored_tensor(name)) return {};
    PieceList pieces;
    const auto whole = [&](const Source& source) { return whole_pieces(source, tensors[i].view); };
    LW_ASSIGN(found[i].source, account_for(name, whole, pieces));
    found[i].piece = *pieces.begin();
    return {};
  };
  LW_TRY(run_small_jobs(static_cast<int64_t>(tensors.size()), kAtATime, look_up));
  // One after the other, as comparing takes all threads by itself.
  const Plan::Implementation& plan = model.tables();
  const bool plain = !whole_changes && !options.deltas && plan.aliases.empty();
  for (auto& [source, piece] : found) {
    if (plain || source < 0) continue;
    LW_TRY(compare_with_mirror(source, {&piece, 1}));
    touch(source, false);
    if (plan.sources[source].alias_of < 0 || piece.rows == 0 || piece.cols == 0) continue;
    LW_TRY(staging->keep_alias(source, piece, true));
    source = -1;
  }
  std::erase_if(found, [](const auto& entry) {
    return entry.source < 0 || entry.piece.rows == 0 || entry.piece.cols == 0;
  });
  staging->borrow(std::move(found));
  return {};
}

}  // namespace liveweight
