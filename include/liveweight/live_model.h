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

  // Makes the version before the last commit current again, as a new number. kFailedState where an update has
  // begun since then, where there was none before, or in the mode `in_place`.
  Result<Version> rollback();

  // The first byte of a parameter's slot 0 or 1 (slot 1 is null in the mode `in_place`); constant for the
  // model's life.
  const std::byte* slot_address(int64_t parameter, int slot) const;

  struct Implementation;

 private:
  LiveModel();
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace liveweight
