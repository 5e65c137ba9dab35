#include "buffers_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "live/parallel_jobs.h"

namespace liveweight::python {
namespace {

bool one_scale(const Matrix& matrix) {
  return matrix.scheme.granularity == Granularity::kTensor;
}

}  // namespace

int64_t BuffersUpdate::add_target(std::string name, const Matrix& matrix) {
  std::lock_guard lock(mutex_);
  targets_.push_back(Target{std::move(name), matrix});
  return static_cast<int64_t>(targets_.size()) - 1;
}

// Whether what came is staged. All of a target is, or nothing.
bool BuffersUpdate::is_staged(const Target& target) {
  return !target.pieces.empty() && !target.pieces.begin()->second.data;
}

bool BuffersUpdate::holds_any(const Target& target) {
  return std::any_of(target.pieces.begin(), target.pieces.end(),
                     [](const auto& piece) { return !piece.second.held.empty(); });
}

bool BuffersUpdate::whole(const Target& target) {
  int64_t rows = 0;
  for (const auto& [row, piece] : target.pieces) rows += piece.rows;
  return rows == target.matrix.rows;
}

bool BuffersUpdate::is_whole(int64_t target) const {
  std::lock_guard lock(mutex_);
  return whole(targets_[static_cast<size_t>(target)]);
}

void BuffersUpdate::clear(int64_t index) {
  std::lock_guard lock(mutex_);
  forget(targets_[static_cast<size_t>(index)]);
}

void BuffersUpdate::forget(Target& target) {
  for (auto& [row, piece] : target.pieces) forget(piece);
  target.pieces.clear();
}

void BuffersUpdate::forget(Piece& piece) {
  stop_looking(piece);
  piece.staged.drop(staging_);
}

void BuffersUpdate::stop_looking(Piece& piece) {
  if (piece.ahead) lookahead_.forget(*piece.ahead);
  piece.ahead.reset();
}

void BuffersUpdate::distrust(int64_t index) {
  std::lock_guard lock(mutex_);
  targets_[static_cast<size_t>(index)].distrusted = true;
}

uint64_t BuffersUpdate::staged_bytes() const {
  std::lock_guard lock(mutex_);
  return staging_.bytes();
}

// Whether some of them came, but not as this piece.
bool BuffersUpdate::overlaps(const Target& target, const Rows& rows) {
  const auto next = target.pieces.upper_bound(rows.row);
  if (next != target.pieces.end() && next->first < rows.row + rows.rows) return true;
  if (next == target.pieces.begin()) return false;
  const auto& [row, before] = *std::prev(next);
  return row + before.rows > rows.row && !(row == rows.row && before.rows == rows.rows);
}

void BuffersUpdate::add_piece(Target& target, const Rows& rows, Piece piece) {
  Piece& place = target.pieces[rows.row];
  stop_looking(place);
  piece.staged = std::move(place.staged);  // its memory is used again
  place = std::move(piece);
}

Status BuffersUpdate::stage(Target& target, int64_t row, Piece& piece) {
  LW_TRY(
      piece.staged.stage(target.name, target.matrix, {piece.data, row, piece.rows}, target.amax, staging_));
  stop_looking(piece);
  piece.data = nullptr;
  piece.held = {};
  return {};
}

// Those that are not staged yet.
Status BuffersUpdate::stage_all(Target& target) {
  for (auto& [row, piece] : target.pieces) {
    if (piece.data) LW_TRY(stage(target, row, piece));
  }
  return {};
}

// The rows as they are now, whatever becomes of where they came from.
void BuffersUpdate::hold(const Matrix& matrix, Piece& piece) {
  piece.held.assign(piece.data, piece.data + PartShape{matrix.dtype, piece.rows, matrix.cols}.bytes());
  piece.data = piece.held.data();
}

// Once the last piece of a tensor with one scale is here.
Status BuffersUpdate::stage_whole(Target& target) {
  target.amax = 0;
  for (const auto& [row, piece] : target.pieces) {
    LW_ASSIGN(const float amax, check_rows(target.name, target.matrix, {piece.data, row, piece.rows}));
    target.amax = std::max(target.amax, amax);
  }
  return stage_all(target);
}

Result<bool> BuffersUpdate::put(int64_t index, const Rows& rows, bool borrowed) {
  std::lock_guard lock(mutex_);
  Target& target = targets_[static_cast<size_t>(index)];
  const Scheme& scheme = target.matrix.scheme;
  const int64_t end = rows.row + rows.rows;
  if (rows.row < 0 || end > target.matrix.rows)
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected rows within [0, {}), got [{}, {})", target.name,
                            target.matrix.rows, rows.row, end),
                {target.name});
  if (!one_scale(target.matrix) && !rows_stand_alone(scheme, rows, target.matrix.rows)) return false;
  if (overlaps(target, rows)) return false;
  const bool all = rows.rows == target.matrix.rows;
  if (one_scale(target.matrix) && is_staged(target) && !all) return false;
  if (borrowed && !is_staged(target)) {
    add_piece(target, rows, {rows.rows, rows.data, {}, {}, {}});
    target.pieces.at(rows.row).ahead = lookahead_.add(target.name, target.matrix, rows);
    if (holds_any(target) && whole(target)) LW_TRY(stage_whole(target));
    return true;
  }
  if (!one_scale(target.matrix)) {
    add_piece(target, rows, {rows.rows, rows.data, {}, {}, {}});
    LW_TRY(stage_all(target));  // and what was borrowed before
    return true;
  }
  if (is_staged(target)) forget(target);  // it comes anew
  Piece piece{rows.rows, rows.data, {}, {}, {}};
  if (!all) hold(target.matrix, piece);
  add_piece(target, rows, std::move(piece));
  if (whole(target)) LW_TRY(stage_whole(target));
  return true;
}

// Of a tensor with one scale that is not whole yet, copies are held.
Status BuffersUpdate::take_borrowed(int64_t index) {
  std::lock_guard lock(mutex_);
  Target& target = targets_[static_cast<size_t>(index)];
  if (!one_scale(target.matrix)) return stage_all(target);
  if (whole(target)) return is_staged(target) ? Status{} : stage_whole(target);
  for (auto& [row, piece] : target.pieces) {
    if (!piece.held.empty()) continue;
    stop_looking(piece);
    hold(target.matrix, piece);
  }
  return {};
}

Status BuffersUpdate::check_borrowed(Target& target) const {
  float amax = 0;
  bool any = false;
  for (const auto& [row, piece] : target.pieces) {
    if (!piece.data) continue;
    any = true;
    LW_ASSIGN(const float found, lookahead_.answer(*piece.ahead));
    amax = std::max(amax, found);
  }
  if (any) target.amax = amax;
  return {};
}

Status BuffersUpdate::prepare(bool partial) {
  std::lock_guard lock(mutex_);
  for (const Target& target : targets_) {
    if (whole(target) || (partial && target.pieces.empty())) continue;
    int64_t came = 0;
    for (const auto& [row, piece] : target.pieces) came += piece.rows * target.matrix.cols;
    return fail(ErrorCode::kMissingTensor,
                fmt::format("tensor {}: expected {} elements, got {}", target.name,
                            target.matrix.rows * target.matrix.cols, came),
                {target.name});
  }
  lookahead_.finish();
  for (Target& target : targets_) LW_TRY(check_borrowed(target));
  return {};
}

// The bands of all targets at once. The last that came go first: some of them are in a cache still.
Status BuffersUpdate::write_borrowed() const {
  struct Work {
    const Target* target;
    const StagedRows* changes;  // null: not to be trusted
    Rows rows;
    TensorUnit unit;
    int64_t first_job;
  };
  std::vector<Work> work;
  int64_t jobs = 0;
  for (auto target = targets_.rbegin(); target != targets_.rend(); ++target) {
    for (const auto& [row, piece] : target->pieces) {
      if (!piece.data) continue;
      const Rows rows{piece.data, row, piece.rows};
      const StagedRows* changes = target->distrusted ? nullptr : &lookahead_.changes(*piece.ahead);
      work.push_back({&*target, changes, rows, tensor_unit(target->matrix, rows, target->amax), jobs});
      jobs += band_count(target->matrix, rows);
    }
  }
  return run_jobs(jobs, [&](int64_t job) -> Status {
    const auto after = std::upper_bound(work.begin(), work.end(), job,
                                        [](int64_t i, const Work& w) { return i < w.first_job; });
    const auto& [target, changes, rows, unit, first_job] = *std::prev(after);
    const int64_t band = job - first_job;
    if (!changes || !changes->keeps(band))
      return quantize_band(target->name, target->matrix, band_of(target->matrix, rows, band), unit);
    changes->write(band);
    return {};
  });
}

Status BuffersUpdate::commit() {
  std::lock_guard lock(mutex_);
  LW_TRY(write_borrowed());
  for (const Target& target : targets_) {
    for (const auto& [row, piece] : target.pieces) {
      if (!piece.data) piece.staged.write();
    }
  }
  return {};
}

}  // namespace liveweight::python
