// What a live model owns: its plan, the slots, the versions, and the state of the one update.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/memory.h"
#include "live/plan_tables.h"
#include "live/slot_lag.h"
#include "live/tensor_maxima.h"
#include "live/versions.h"

namespace liveweight {

struct LiveModel::Implementation {
  std::shared_ptr<const Plan> plan;
  Buffer arenas[2];  // slot 0 and slot 1 of every parameter; the second is empty in the mode in_place
  std::vector<uint64_t> offsets;  // of a parameter's slot in its arena
  Versions versions;

  std::mutex mutex;  // of what follows
  bool update_open = false;
  std::vector<SlotLag> lags;  // by parameter; none in the mode in_place
  std::optional<TensorMaxima> maxima;
  // The version before the last commit can come back: in the parameters that this commit wrote it is what
  // their next slots hold or, where these were written since, the current version with what was written over
  // put back.
  bool previous_valid = false;
  std::vector<int32_t> last_touched;             // those parameters, ascending
  std::vector<std::unique_ptr<SlotUndo>> undos;  // by parameter
  // What `forget_previous` let go, many small pieces of memory: freed behind the commit, or by the next
  // update.
  std::vector<std::unique_ptr<SlotUndo>> forgotten_undos;
  std::shared_ptr<Mirror> mirror;
  // The mirror's state that is the current version's checkpoint, and the one before the last commit.
  std::optional<uint64_t> mirror_sequence, previous_mirror_sequence;
  bool last_was_delta = false;               // the mirror's last change is from the version before to this
  std::optional<uint64_t> mirror_to_revert;  // a state of the mirror that is still to be taken back

  const Plan::Implementation& tables() const { return plan->implementation(); }
  std::byte* slot(int32_t parameter, int index) const {
    std::byte* arena = arenas[index].data();
    return arena ? arena + offsets[parameter] : nullptr;
  }
  // The slot that the current version does not use.
  std::byte* next_slot(int32_t parameter) const;
  uint64_t next_slot_bytes() const { return arenas[1].size(); }

  // Makes the next slot of a parameter equal to the current one.
  void catch_up(int32_t parameter);
  // Before a next slot is written: keeps what the version before has there, or gives that version up.
  void keep_previous(int32_t parameter);
  void forget_previous() noexcept;
  void free_forgotten() noexcept;

  Status catch_up_all(std::chrono::milliseconds reader_timeout);
  Result<Version> roll_back();

  // Makes the next slot of a parameter what it was in the version before.
  void bring_back(int32_t parameter);
  // After a rollback.
  void mirror_back();
  // Takes the mirror's last change back; where that fails now, the next update tries again.
  void revert_mirror(uint64_t sequence) noexcept;

  // Exchanges the bytes of both slots of those parameters; the gate must be shut.
  void swap_slots(const std::vector<int32_t>& parameters) const;
};

}  // namespace liveweight
