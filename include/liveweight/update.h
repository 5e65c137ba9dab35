// The transaction that turns one weight version into the next. All or nothing: until commit no reader sees a
// change, and an update that fails, is aborted or is dropped leaves bytes, addresses and version as they
// were. (In the mode `in_place` that holds for borrowed tensors only: see `put`.)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"
#include "liveweight/error.h"
#include "liveweight/tensor.h"
#include "liveweight/version.h"

namespace liveweight {

class NameMap;  // model.h

struct UpdateOptions {
  // Checkpoint tensors, or modules ("model.layers.3", which means all below it), that the update will bring;
  // all else keeps its bytes and its parameter version. Empty: every tensor.
  std::vector<std::string> scope;
  // Whether `put_delta` or `put_deltas` will be called. What is not in the scope, or without one does not
  // come at all, then keeps its bytes and its parameter version.
  bool deltas = false;
  std::optional<uint64_t> base_version;   // compare-and-set: refuse unless this is the current version
  std::string label;                      // of the new version
  std::optional<Digest> expected_digest;  // of the whole model after the update
  uint64_t staging_budget_bytes =
      64 << 20;  // for units whose bytes arrive in pieces; kResourceExhausted beyond it
  std::chrono::milliseconds reader_timeout{30'000};
  // Asked when the last borrowed byte has been read and before the new version becomes the current one: an
  // error refuses the update. For sources that can change while they are read (mapped files).
  std::function<Status()> verify_source;
};

// A piece of a checkpoint tensor: `extent` elements from `start` along every dimension, row-major in the data
// given.
struct Region {
  Shape start;
  Shape extent;
};

struct UpdateReport {
  Version version;
  int64_t tensors = 0;  // checkpoint tensors that came
  uint64_t source_bytes = 0;
  uint64_t changed_elements = 0;  // that deltas named
  uint64_t whole_units = 0;       // quantized whole for them, as their scale might move
  uint64_t mirror_bytes = 0;      // read from the mirror for those
  bool in_mirror = false;         // the model's mirror holds this version
  double stage_seconds = 0;       // quantizing into the next slots
  double prepare_seconds = 0;     // proving that the update is whole
  double commit_seconds = 0;
  double pause_us = 0;                      // during which no reader could pin
  uint64_t extra_peak_bytes = 0;            // next slots, buffers of partial units, scratch
  uint64_t predicted_extra_peak_bytes = 0;  // what the plan said
};

// Every call may come from any thread; `put` and `borrow` from several at once. After a call failed, every
// later one but `abort` returns the same error.
class Update {
 public:
  Update(Update&&) noexcept;
  Update& operator=(Update&&) noexcept;
  ~Update();  // aborts, unless committed

  // Takes a whole tensor, a piece, or the elements [first, first + count) of the flattened tensor. The data
  // may be freed on return. In the mode `in_place` this writes at once, with readers fenced out: a later
  // failure leaves the model without a version until a whole update succeeds.
  Status put(std::string_view name, const TensorView& tensor);
  Status put(std::string_view name, const TensorView& piece, const Region& region);
  Status put_flat(std::string_view name, const TensorView& piece, int64_t first_element);

  // The same for data that stays where it is until commit or abort (a mapped file): nothing is copied, and
  // the work is shared out among all threads by `stage`.
  Status borrow(std::string_view name, const TensorView& tensor);
  // All tensors of a checkpoint but those that no runtime loads, by their canonical names; all threads look
  // them up. The error is that of the first in their order.
  Status borrow(const Checkpoint& checkpoint, const NameMap& names);

  // Takes the elements of a tensor that change from the current version on; the others keep their values. For
  // weights that are quantized here, or not at all. Only changed elements are quantized, and units whose
  // scale may move; those are read whole from the model's mirror, and kFailedState where it has none of the
  // current version (LiveModel::attach_mirror). What the delta's owner keeps alive is not copied. Errors name
  // the tensor and the element: kInvalidArgument out of range or order, kDuplicateTensor twice, kNonFinite.
  // kUnsupported in the mode in_place, which has no second slot, and in `prepare` where a tie's other name
  // came whole.
  Status put_delta(const TensorDelta& delta);
  // Several tensors' changes, as by `put_delta`, on all threads.
  Status put_deltas(std::span<const TensorDelta> deltas);

  // Quantizes what was borrowed. `prepare` does it where it was not called.
  Status stage();

  // Proves the update: every required element covered exactly once, all values finite, ties equal, digest as
  // promised.
  Status prepare();

  // Publishes the new version between two steps; prepares first where that was not done.
  Result<UpdateReport> commit();

  // kFailedState where the model has no mirror, or none that holds the version that this starts from.
  Status check_mirror() const;

  void abort();

  struct Implementation;

 private:
  friend class LiveModel;
  friend Result<std::vector<UpdateReport>> commit_together(std::span<Update> updates);
  explicit Update(std::shared_ptr<Implementation> implementation);
  std::shared_ptr<Implementation> implementation_;
};

// Commits updates of several models, the ranks of one, in two phases: all are prepared before the first
// publishes. Where one fails, none stays committed: the others are aborted or, where it fails in the second
// phase, rolled back, which a first version and the mode in_place cannot be. Reports in the order of the
// updates; the error is that of the first that failed, and names its place.
Result<std::vector<UpdateReport>> commit_together(std::span<Update> updates);

}  // namespace liveweight
