// One open update: what has come, where it is being written, and what has failed.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "base/guarded.h"
#include "live/coverage.h"
#include "live/delta_staging.h"
#include "live/model_state.h"
#include "live/staging.h"
#include "live/whole_changes.h"
#include "liveweight/update.h"

namespace liveweight {

struct Update::Implementation {
  using PiecesOf = std::function<Result<PieceList>(const Source&)>;

  Implementation(LiveModel::Implementation& live_model, UpdateOptions update_options)
      : model(live_model), options(std::move(update_options)) {}

  LiveModel::Implementation& model;
  const UpdateOptions options;
  const Snapshot::State* base = nullptr;  // the version that the update started from; null for the first
  std::unique_ptr<Coverage> coverage;
  std::unique_ptr<Staging> staging;
  std::unique_ptr<DeltaStaging> deltas;
  std::unique_ptr<WholeChanges> whole_changes;  // null: whole tensors are not noted in the mirror
  std::mutex mirror_mutex;                      // of comparing with it
  std::mutex touch_mutex;                       // of `touched` and the model's lags, until `stage`
  std::vector<bool> touched;                    // parameters that the update writes
  UpdateReport report;
  std::atomic<bool> prepared{false};
  bool deltas_staged = false;
  std::optional<uint64_t> mirror_recorded;  // the mirror's state that is this update's version
  std::atomic<bool> committed{false};
  std::atomic<bool> closed{false};
  std::mutex fence_mutex;
  bool fenced = false;  // readers are shut out
  Clock::time_point fence_start;
  std::mutex error_mutex;
  std::optional<Error> error;

  Status take(std::string_view name, bool borrowed, const PiecesOf& pieces_of);
  Status take_checkpoint(const Checkpoint& checkpoint, const NameMap& names);
  Status take_deltas(std::span<const TensorDelta> all);
  Status stage();
  Status prepare();
  Result<UpdateReport> commit();
  void close() noexcept;
  // Whether the mirror is at the current version, or where another process has put it on the way to this one.
  Status check_mirror() const;

 private:
  Result<int32_t> account_for(std::string_view name, const PiecesOf& pieces_of, PieceList& pieces);
  Status borrow_all(const Checkpoint& checkpoint, const NameMap& names);
  Status take_pieces(std::string_view name, bool borrowed, const PiecesOf& pieces_of);
  Status queue_deltas(std::span<const TensorDelta> all);
  Status may_queue_deltas(std::span<const TensorDelta> all) const;
  Result<CheckedDelta> check_delta(const TensorDelta& delta) const;
  // Before the first write to the parameters of a source: their next slots hold the current version where
  // deltas may come.
  void touch(int32_t source, bool changes_only);
  // Once; `overwrites`: the current version is none from here on.
  Status shut_fence(bool overwrites);
  void open_fence();
  // `last`: nothing comes after it.
  Status stage_now(bool last);
  Status stage_all(bool last);
  Status stage_deltas();
  Status check_whole_matrices() const;
  Status compare_with_mirror(int32_t source, std::span<const Piece> pieces);
  Status record_in_mirror();
  Status prepare_now();
  Status prove();
  Status verify_source() const;
  Status commit_now();
  void fill_report();
  Status commit_flip();
  Status commit_fenced();
  BindingTable next_table(std::vector<const std::byte*> slots) const;
  void publish(BindingTable table, std::string label) noexcept;
  void finish_commit(std::vector<int32_t> touched_parameters, bool can_roll_back,
                     Clock::time_point start) noexcept;
  std::vector<const std::byte*> next_slots() const;
  std::vector<int32_t> touched_list() const;
  // One call of the user's: where an earlier one failed, its error; what fails or throws in this one fails
  // the update.
  template <typename Body>
  Status attempt(const Body& body) {
    LW_TRY(first_error());
    Status status = guarded(body);
    return status ? status : fail_with(std::move(status).error());
  }
  Status first_error();
  Status fail_with(Error why);
};

}  // namespace liveweight
