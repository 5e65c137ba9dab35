#include "buffers_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/memory.h"
#include "live/parallel_jobs.h"

namespace liveweight::python {
namespace {

bool one_scale(const Matrix& matrix) {
  return matrix.scheme.granularity == Granularity::kTensor;
}

}  // namespace

int64_t BuffersUpdate::add_target(std::string name, const Matrix& matrix) {
  std::lock_guard lock(mutex_);
  Matrix staged = matrix;
  staged.codes = staged.scales = staged.zero_points = nullptr;
  staged.packed = matrix.scheme.element == Element::kInt4;  // half as much memory
  targets_.push_back(Target{std::move(name), matrix, {}, staged, 0});
  return static_cast<int64_t>(targets_.size()) - 1;
}

// Whether what came lies in staging memory. All of a target does, or nothing.
bool BuffersUpdate::is_staged(const Target& target) {
  return target.staged.codes && !target.pieces.empty() && !target.pieces.begin()->second.data;
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
  Target& target = targets_[static_cast<size_t>(index)];
  target.pieces.clear();
}

uint64_t BuffersUpdate::staged_bytes() const {
  std::lock_guard lock(mutex_);
  return staging_.bytes();
}

Status BuffersUpdate::add_piece(Target& target, const Rows& rows, Piece piece) {
  const int64_t end = rows.row + rows.rows;
  if (rows.row < 0 || end > target.matrix.rows)
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected rows within [0, {}), got [{}, {})", target.name,
                            target.matrix.rows, rows.row, end),
                {target.name});
  const auto next = target.pieces.upper_bound(rows.row);
  bool overlaps = next != target.pieces.end() && next->first < end;
  if (next != target.pieces.begin()) {
    const auto& [row, before] = *std::prev(next);
    overlaps |= row + before.rows > rows.row && !(row == rows.row && before.rows == rows.rows);
  }
  if (overlaps)
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: expected rows that did not come yet, got [{}, {}) again", target.name,
                            rows.row, end),
                {target.name});
  target.pieces.insert_or_assign(rows.row, std::move(piece));
  return {};
}

Status BuffersUpdate::allocate_staging(Target& target) {
  if (target.staged.codes) return {};
  const Matrix& matrix = target.matrix;
  const MatrixShape shape = shape_of(matrix.scheme, matrix.dtype, matrix.rows, matrix.cols);
  LW_ASSIGN(target.staged.scales, staging_.allocate(shape.scales.bytes()));
  if (matrix.zero_points) {
    LW_ASSIGN(target.staged.zero_points, staging_.allocate(shape.zero_points.bytes()));
  }
  const uint64_t code_bytes = target.staged.packed ? packed_bytes(matrix) : shape.codes.bytes();
  LW_ASSIGN(target.staged.codes, staging_.allocate(code_bytes));
  return {};
}

Status BuffersUpdate::stage(Target& target, const Rows& rows) {
  LW_TRY(allocate_staging(target));
  return quantize_rows(target.name, target.staged, rows, target.amax);
}

// Once the last piece of a tensor with one scale is here.
Status BuffersUpdate::stage_whole(Target& target) {
  target.amax = 0;
  for (const auto& [row, piece] : target.pieces) {
    LW_ASSIGN(const float amax, check_rows(target.name, target.matrix, {piece.data, row, piece.rows}));
    target.amax = std::max(target.amax, amax);
  }
  for (auto& [row, piece] : target.pieces) {
    LW_TRY(stage(target, {piece.data, row, piece.rows}));
    piece = Piece{piece.rows, nullptr, {}, {}};
  }
  return {};
}

Result<bool> BuffersUpdate::put(int64_t index, const Rows& rows, bool borrowed) {
  std::lock_guard lock(mutex_);
  Target& target = targets_[static_cast<size_t>(index)];
  const Scheme& scheme = target.matrix.scheme;
  if (!one_scale(target.matrix) && !rows_stand_alone(scheme, rows, target.matrix.rows)) return false;
  if (borrowed && !is_staged(target)) {
    LW_TRY(add_piece(target, rows, {rows.rows, rows.data, {}, {}}));
    target.pieces.at(rows.row).ahead = lookahead_.add(target.name, target.matrix, rows);
    return true;
  }
  if (!one_scale(target.matrix)) {
    LW_TRY(add_piece(target, rows, {rows.rows, nullptr, {}, {}}));
    LW_TRY(stage(target, rows));
    for (auto& [row, piece] : target.pieces) {  // what was borrowed before
      if (piece.data) LW_TRY(stage(target, {piece.data, row, piece.rows}));
      piece.data = nullptr;
    }
    return true;
  }
  if (is_staged(target)) target.pieces.clear();  // it comes anew
  const uint64_t bytes =
      static_cast<uint64_t>(rows.rows * target.matrix.cols * bits_of(target.matrix.dtype) / 8);
  Piece piece{rows.rows, rows.data, {}, {}};
  const bool only = rows.rows == target.matrix.rows;
  if (!only) {
    piece.held.assign(rows.data, rows.data + bytes);
    piece.data = piece.held.data();
  }
  LW_TRY(add_piece(target, rows, std::move(piece)));
  if (whole(target)) LW_TRY(stage_whole(target));
  return true;
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
    Rows rows;
    int64_t first_job;
  };
  std::vector<Work> work;
  int64_t jobs = 0;
  for (auto target = targets_.rbegin(); target != targets_.rend(); ++target) {
    for (const auto& [row, piece] : target->pieces) {
      if (!piece.data) continue;
      work.push_back({&*target, {piece.data, row, piece.rows}, jobs});
      jobs += band_count(target->matrix, work.back().rows);
    }
  }
  return run_jobs(jobs, [&](int64_t job) {
    const auto after = std::upper_bound(work.begin(), work.end(), job,
                                        [](int64_t i, const Work& w) { return i < w.first_job; });
    const auto& [target, rows, first_job] = *std::prev(after);
    return quantize_band(target->name, target->matrix, rows, target->amax, job - first_job);
  });
}

void BuffersUpdate::write_staged(const Target& target) {
  const Matrix& to = target.matrix;
  const MatrixShape shape = shape_of(to.scheme, to.dtype, to.rows, to.cols);
  if (target.staged.packed) {
    unpack_matrix(target.staged, to);
  } else {
    copy_memory(to.codes, target.staged.codes, shape.codes.bytes());
  }
  if (to.scales) copy_memory(to.scales, target.staged.scales, shape.scales.bytes());
  if (to.zero_points) copy_memory(to.zero_points, target.staged.zero_points, shape.zero_points.bytes());
}

Status BuffersUpdate::commit() {
  std::lock_guard lock(mutex_);
  LW_TRY(write_borrowed());
  for (const Target& target : targets_) {
    if (is_staged(target)) write_staged(target);
  }
  return {};
}

}  // namespace liveweight::python
