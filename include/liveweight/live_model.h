// A model whose weights can be replaced while it runs. Owns the slots, the binding tables and the current
// version. Thread-safe: any number of readers may pin snapshots beside one update.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/mirror.h"
#include "liveweight/plan.h"
#include "liveweight/update.h"
#include "liveweight/version.h"

namespace liveweight {

// Which slot each parameter uses in one version. There are two, at addresses that hold for the model's life.
struct BindingTable {
  uint64_t version_number = 0;
  std::vector<const std::byte*> slots;       // by parameter index
  std::vector<uint64_t> parameter_versions;  // the version that last wrote each parameter
};

// A reader's pin on one version. While it lives nothing the table points at is written, except by an update
// `in_place`, which waits for it instead. Move-only; let go on the thread of your choice.
class Snapshot {
 public:
  Snapshot() = default;
  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&& other) noexcept;
  ~Snapshot();

  const BindingTable& table() const { return *table_; }
  uint64_t version_number() const { return table_->version_number; }

  struct State;

 private:
  friend class LiveModel;
  const BindingTable* table_ = nullptr;
  State* state_ = nullptr;
};

class LiveModel {
 public:
  // Allocates and touches the slots; there is no version, and so nothing to pin, until the first update
  // commits.
  static Result<std::unique_ptr<LiveModel>> create(std::shared_ptr<const Plan> plan);
  ~LiveModel();

  const Plan& plan() const;

  // Opens the one update that may be open at a time; kBusy otherwise. kStaleVersion where
  // options.base_version is not the current one. Waits up to options.reader_timeout for readers of the
  // version before the current one.
  Result<Update> begin_update(UpdateOptions options = {});

  // A pin on the current version. kFailedState before the first load, and after an update `in_place` failed
  // half-way. Waits while a commit in the modes `copy` or `in_place` is writing.
  Result<Snapshot> pin() const;

  Version version() const;
  std::string label_of(
      uint64_t version_number) const;  // empty where the number is not in one of the two tables

  // Makes the version before the last commit current again, as a new number, and a second time the one after
  // it. kFailedState where it is not there any more: an update that writes a parameter, or `catch_up`, writes
  // over what it has there. Where the last commit brought changes (deltas) these are kept then, and a
  // rollback costs what they cost, until the next commit; they are not where it brought the parameter whole,
  // where so much changed that copying is cheaper, or where units that were quantized whole make up more than
  // a quarter of the parameter. kFailedState also where there was none before, and in the mode `in_place`.
  // kBusy while an update is open, or where readers of that version did not let go.
  Result<Version> rollback();
  // Whether it is there, and no update is open.
  bool can_roll_back() const;

  // Where deltas find what they do not carry: a mirror that holds the current version's checkpoint. Deltas,
  // partial updates (those with a scope or with deltas) and rollbacks keep it current; whole tensors are
  // compared with it as they come. After an update of the whole model, a partial one that changes so much
  // that its changes take more than a sixteenth of the weights' bytes (and 1 MiB), and one in the mode
  // in_place, it has to be replaced and attached again: UpdateReport::in_mirror tells. Null: none. kBusy
  // while an update is open; kStaleVersion where the current version is not that of `version_number`, if one
  // is given.
  Status attach_mirror(std::shared_ptr<Mirror> mirror, std::optional<uint64_t> version_number = {});
  std::shared_ptr<Mirror> mirror() const;

  // Work for the time behind a commit, so that the next delta costs no more than its changes: brings the next
  // slots up to the current version, by the last deltas' changes where those are known, else by copying, and
  // puts those changes into the mirror. What is copied ends the possibility of rollback. An update does it
  // for the parameters that it touches where this was not called. Waits up to `reader_timeout` for readers of
  // the version before; kBusy beyond that or while an update is open.
  Status catch_up(std::chrono::milliseconds reader_timeout = std::chrono::milliseconds{30'000});

  // The first byte of a parameter's slot 0 or 1 (slot 1 is null in the mode `in_place`); constant for the
  // model's life.
  const std::byte* slot_address(int64_t parameter, int slot) const;

  struct Implementation;

 private:
  LiveModel();
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace liveweight
