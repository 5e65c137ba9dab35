// Carries changed elements into the next slots, which hold the current version: each alone where its unit
// keeps its scale, whole units from the mirror where they may not.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "live/delta_checks.h"
#include "live/delta_split.h"
#include "live/piece.h"
#include "live/plan_tables.h"
#include "live/slot_lag.h"
#include "liveweight/mirror.h"
#include "quantize/patch.h"
#include "quantize/quantize.h"

namespace liveweight {

struct DeltaCounts {
  uint64_t changed_elements = 0;
  uint64_t units = 0;         // quantized whole
  uint64_t mirror_bytes = 0;  // read for them
};

class DeltaStaging {
 public:
  using SlotOf = std::function<std::byte*(int32_t parameter)>;
  using LagOf = std::function<SlotLag&(int32_t parameter)>;

  DeltaStaging(const Plan::Implementation& plan, SlotOf slot_of, LagOf lag_of)
      : plan_(plan),
        slot_of_(std::move(slot_of)),
        lag_of_(std::move(lag_of)),
        place_(plan.sources.size(), kNone) {}

  // Queues changes that were checked, and takes them from the list. Thread-safe.
  void add(std::span<CheckedDelta> checked);
  bool has(int32_t source) const { return place_[source] != kNone; }
  int64_t tensors() const { return added_; }  // that came

  // A delta of an alias stands in for its tensor's; where both came they must be equal.
  Status settle_aliases();

  // Patches all that is queued, on all threads. `mirror` holds the version before these deltas; null: there
  // is none, and `why` says what the error ends with.
  // `has_old`: what the mirror has of the deltas' elements are their old values, and not the new ones
  // already.
  Status run(const Mirror* mirror, bool has_old, const std::string& why);

  // What `run` changed, for the mirror that it was given: under all names that this has.
  bool has_noted() const { return mirror_ != nullptr; }
  std::vector<TensorDelta> take_noted() { return std::move(noted_); }
  const DeltaCounts& counts() const { return counts_; }

 private:
  // Rows of one queued tensor, for one of its targets.
  struct Job {
    int32_t source;
    int32_t target;
    const SourceChanges* changes;
    DeltaRows part;
  };
  // What one job on one source needs and notes, so that threads meet only at its end.
  struct Notes {
    TensorView old;
    std::span<const uint32_t> positions;  // of its changes
    std::span<const std::byte> values;
    size_t begin = 0, end = 0;     // among them: where those of the job are
    std::vector<std::byte> bytes;  // of the box that is quantized
    uint64_t mirror_bytes = 0;
  };
  using Key = std::pair<int32_t, int32_t>;  // parameter and matrix
  static constexpr uint32_t kNone = ~uint32_t{0};

  void queue(int32_t source, SourceChanges changes);
  const SourceChanges& changes_of(int32_t source) const { return queued_[place_[source]].changes; }
  std::vector<Job> queue_jobs();
  Status note_changes();
  static std::vector<size_t> ends_of_shares(const std::vector<Job>& jobs);
  Status patch(std::span<const Job> jobs);
  void add_patches(const Job& job, std::vector<ElementPatch>& patches) const;
  Status require_mirror(int32_t index, uint32_t position) const;
  Status quantize_doubtful(const Job& job, std::span<ElementPatch> patches);
  Status quantize_groups(const Job& job, const SlotRegion& region, std::vector<uint32_t>& doubtful);
  Status quantize_boxes(const Job& job, const std::vector<uint32_t>& doubtful);
  Status quantize_box(const UnitBox& box, float amax, Notes& notes);
  Status quantize_all(const std::vector<UnitBox>& boxes, float amax);
  Status quantize_matrix(const Key& key, const std::vector<UnitBox>& doubtful);
  Status quantize_edges(int32_t source, int32_t target);
  Notes notes_on(int32_t source) const;
  // The box's elements as they will be, side by side.
  Status read_patched(const UnitBox& box, Notes& notes, std::byte* to) const;
  Status read_patched(const UnitBox& box, Notes& notes) const;  // into the notes
  Result<float> last_element(int32_t source) const;
  void note_units(std::span<const UnitBox> boxes);
  void add_notes(const Notes& notes);
  std::vector<UnitBox> whole_boxes(const Key& key) const;
  TensorView old_of(int32_t source) const;
  Status quantize_all_edges();
  bool fills_edges(const Source& source, const Target& target) const;
  const KernelFormat& format_of(const Target& target) const {
    return *plan_.parameters[target.parameter].format;
  }
  bool is_tensor_wide(const Target& target) const {
    return format_of(target).scheme.granularity == Granularity::kTensor;
  }

  const Plan::Implementation& plan_;
  SlotOf slot_of_;
  LagOf lag_of_;
  std::mutex mutex_;
  std::vector<CheckedDelta> queued_;
  std::vector<uint32_t> place_;  // among them, by source
  const Mirror* mirror_ = nullptr;
  bool has_old_ = false;
  std::string why_;
  std::vector<TensorDelta> noted_;
  std::map<Key, std::vector<UnitBox>> doubtful_matrices_;  // the elements that may move their scale
  DeltaCounts counts_;
  int64_t added_ = 0;
};

}  // namespace liveweight
