// What a soak does to a live model beside its readers: updates of all kinds, drawn by a seeded generator,
// each with what has to come of it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "bench/soak_versions.h"

namespace liveweight::bench {

enum class SoakKind : uint8_t {
  kFull,          // from a directory
  kPieces,        // the same, copied in runs out of order
  kPartial,       // the tensors of a scope
  kDelta,         // a delta directory, by way of the mirror
  kNan,           // refused: one element of one tensor
  kMissing,       // refused: a tensor that does not come
  kWrongShape,    // refused: a tensor of another shape
  kWrongDtype,    // refused: a tensor of another type
  kAbort,         // given up on the way
  kRollback,      // to the version before
  kLateRollback,  // refused: the version before is not there any more
};
constexpr size_t kSoakKinds = 11;
std::string_view to_string(SoakKind kind);  // "full", "pieces", ..., "late_rollback"

enum class SoakOutcome : uint8_t { kTaken, kRefused, kAborted, kRolledBack };
SoakOutcome outcome_of(SoakKind kind);  // what it has to be

struct SoakEvent {
  SoakKind kind = SoakKind::kFull;
  std::optional<double> pause_us;  // of an update that was taken
};

class SoakUpdates {
 public:
  // `model` holds the first of `versions`.
  SoakUpdates(LiveModel& model, const SoakVersions& versions, std::shared_ptr<Mirror> mirror, uint64_t seed)
      : model_(model), versions_(versions), mirror_(std::move(mirror)), random_(seed) {}

  // Draws what comes next and does it. An error says which promise it broke.
  Result<SoakEvent> next();
  // Whether the model is, to the bit, at the version where it has to be.
  Status check_digest() const;

 private:
  SoakKind draw();
  Result<UpdateReport> run(SoakKind kind);
  Result<UpdateReport> take_full();
  Result<UpdateReport> take_pieces();
  Result<UpdateReport> take_partial();
  Result<UpdateReport> take_delta();
  Result<UpdateReport> take_bad(SoakKind kind);
  Status give_up();
  Status roll_back();
  Result<SoakEvent> settle(SoakKind kind, const Result<UpdateReport>& report);
  Status check_version() const;
  Result<Checkpoint> open(size_t version) const;
  size_t draw_other();
  UpdateOptions options_for(size_t to);
  void note_taken(SoakKind kind);
  void note_rolled_back();

  LiveModel& model_;
  const SoakVersions& versions_;
  const std::shared_ptr<Mirror> mirror_;
  Random random_;
  // What must hold: the versions by their index in `versions_`.
  size_t current_ = 0, previous_ = 0, target_ = 0;
  uint64_t number_ = 1;
  bool nothing_written_ = false;  // since the last commit, so that a rollback must work
  bool mirror_is_current_ = false;
  bool last_was_delta_ = false;  // and the mirror went with it
};

}  // namespace liveweight::bench
