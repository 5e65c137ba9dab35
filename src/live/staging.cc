#include "live/staging.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <numeric>

#include "live/apply.h"
#include "live/parallel_jobs.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr int64_t kJobBytes =
    512 << 10;  // of source: small enough to share out evenly, large enough to cost no overhead

// Matrices with one scale may be read twice: so many bytes at a time that the caches still hold them the
// second time.
constexpr int64_t kCachedBytes = 16 << 20;

// Whole units of a target, in rows, that have about kJobBytes of source together.
int64_t rows_at_a_time(const Source& source, const Piece& piece, int64_t tile_rows) {
  const int64_t row_bytes = std::max<int64_t>(1, piece.cols * element_bytes(source));
  return std::max<int64_t>(1, kJobBytes / (row_bytes * tile_rows)) * tile_rows;
}

// The rows of a piece [row, row + rows), as many of them as are there.
Piece rows_of(const Source& source, const Piece& piece, int64_t row, int64_t rows) {
  return sub_piece(source, piece, row, std::min(rows, piece.row + piece.rows - row), piece.col, piece.cols);
}

// The last element of a source that is held for it, as some profiles fill edge blocks with it.
float last_element(const Source& source, const HeldPiece& whole) {
  return load_high_precision(source.dtype, element_at(source, whole.piece, source.rows - 1, source.cols - 1),
                             0);
}

}  // namespace

Staging::Staging(const Plan::Implementation& plan, SlotOf slot_of, TensorMaxima& maxima,
                 uint64_t budget_bytes)
    : plan_(plan),
      slot_of_(std::move(slot_of)),
      maxima_(maxima),
      meter_(budget_bytes),
      partial_units_(meter_),
      held_matrices_(plan, meter_) {}

Status Staging::put(int32_t source, const Piece& piece) {
  const auto targets = static_cast<int32_t>(plan_.sources[source].targets.size());
  for (int32_t target = 0; target < targets; ++target) LW_TRY(put_target(source, target, piece));
  return {};
}

Status Staging::put_target(int32_t source_index, int32_t target_index, const Piece& piece) {
  const Source& source = plan_.sources[source_index];
  const Target& target = source.targets[target_index];
  if (target.held) {
    LW_ASSIGN(const HeldMatrix matrix, held_matrices_.add(source_index, target, piece, false));
    return is_small(matrix) ? run_at_once(matrix) : run_large({&matrix, 1});
  }
  const auto apply = [&](const Piece& units) {
    return apply_piece(plan_, source, target, units, slot_of(target), TensorUnit{});
  };
  const Piece whole = PartialUnits::whole_units(source, target, piece);
  if (whole.rows > 0) LW_TRY(apply(whole));
  return partial_units_.add(source_index, source, target_index, target, piece, apply);
}

void Staging::borrow(int32_t source, const Piece& piece) {
  std::lock_guard lock(mutex_);
  queued_.push_back({source, piece});
}

void Staging::borrow(std::vector<Queued> pieces) {
  std::lock_guard lock(mutex_);
  if (queued_.empty()) {
    queued_ = std::move(pieces);
  } else {
    queued_.insert(queued_.end(), pieces.begin(), pieces.end());
  }
}

Status Staging::keep_alias(int32_t source, const Piece& piece, bool borrowed) {
  HeldPiece held{source, nullptr, piece, nullptr};
  if (!borrowed) {
    LW_ASSIGN(held, copy_piece(source, plan_.sources[source], piece, meter_));
  }
  std::lock_guard lock(mutex_);
  aliases_.push_back(std::move(held));
  return {};
}

Status Staging::settle_aliases(const std::function<bool(int32_t)>& came, bool last) {
  std::map<int32_t, std::vector<HeldPiece>> alone;
  for (HeldPiece& alias : aliases_) {
    if (came(plan_.sources[alias.source].alias_of)) {
      LW_TRY(compare_alias(alias));
    } else {
      alone[alias.source].push_back(std::move(alias));
    }
  }
  aliases_.clear();
  for (auto& [source, pieces] : alone) {
    if (!last) {
      std::move(pieces.begin(), pieces.end(), std::back_inserter(aliases_));
      continue;
    }
    // What is queued is whole.
    if (pieces.size() > 1) {
      LW_ASSIGN(pieces[0], held_matrices_.join(pieces));
    }
    queued_.push_back({plan_.sources[source].alias_of, pieces[0].piece});
    stand_ins_.push_back(std::move(pieces[0]));
  }
  return {};
}

Status Staging::compare_alias(const HeldPiece& alias) const {
  const Source& name = plan_.sources[alias.source];
  const Source& primary = plan_.sources[name.alias_of];
  const auto queued = std::find_if(queued_.begin(), queued_.end(), [&](const Queued& q) {
    return q.source == name.alias_of && q.piece.rows == primary.rows && q.piece.cols == primary.cols;
  });
  if (queued == queued_.end()) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("tensor {}: it is another name of {}; send one of the two, or borrow both",
                            name.name, primary.name),
                {name.name, primary.name});
  }
  const Piece& piece = alias.piece;
  const auto row_bytes = static_cast<size_t>(piece.cols * element_bytes(name));
  for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
    const std::byte* expected = element_at(primary, queued->piece, row, piece.col);
    if (std::memcmp(expected, element_at(name, piece, row, piece.col), row_bytes) == 0) continue;
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: it is tied to {}, but row {} differs", name.name, primary.name, row),
                {name.name, primary.name});
  }
  return {};
}

std::vector<Staging::Share> Staging::shares_of(const std::vector<Queued>& queued) const {
  std::vector<Share> shares;
  int64_t bytes = kJobBytes;
  for (size_t i = 0; i < queued.size(); ++i) {
    const auto& [index, piece] = queued[i];
    const Source& source = plan_.sources[index];
    const int64_t more = piece.rows * piece.cols * element_bytes(source);
    if (more > kJobBytes) {
      int64_t tile_rows = 1;
      for (const Target& target : source.targets) tile_rows = std::lcm(tile_rows, target.tile_rows);
      const int64_t step = rows_at_a_time(source, piece, tile_rows);
      for (int64_t row = piece.row; row < piece.row + piece.rows; row += step) {
        shares.push_back({i, i + 1, row, step});
      }
      bytes = kJobBytes;
      continue;
    }
    if (bytes >= kJobBytes) {
      shares.push_back({i, i, 0, 0});
      bytes = 0;
    }
    shares.back().end = i + 1;
    bytes += more;
  }
  return shares;
}

template <typename Body>
Status Staging::for_each_target(const std::vector<Queued>& queued, const Body& body) const {
  const std::vector<Share> shares = shares_of(queued);
  return run_jobs(static_cast<int64_t>(shares.size()), [&](int64_t s) -> Status {
    const Share& share = shares[s];
    for (size_t i = share.begin; i < share.end; ++i) {
      const auto& [index, all] = queued[i];
      const Source& source = plan_.sources[index];
      const Piece piece = share.rows > 0 ? rows_of(source, all, share.row, share.rows) : all;
      for (const Target& target : source.targets) LW_TRY(body(source, target, piece));
    }
    return {};
  });
}

Status Staging::check() const {
  return for_each_target(queued_, [&](const Source& source, const Target& target, const Piece& piece) {
    return check_piece(plan_, source, target, piece);
  });
}

Status Staging::run() {
  std::vector<Queued> queued;
  {
    std::lock_guard lock(mutex_);
    queued.swap(queued_);
  }
  std::vector<HeldMatrix> large;
  if (plan_.holds) LW_TRY(hold(queued, large));
  LW_TRY(for_each_target(queued, [&](const Source& source, const Target& target, const Piece& piece) {
    return target.held ? Status{} : apply_piece(plan_, source, target, piece, slot_of(target), TensorUnit{});
  }));
  return run_large(large);
}

// Leaves what is not held. Small matrices are quantized with their last piece; `large` are the others whose
// last piece that was.
Status Staging::hold(std::vector<Queued>& queued, std::vector<HeldMatrix>& large) {
  constexpr int64_t kAtATime = 64;
  LW_TRY(run_small_jobs(std::ssize(queued), kAtATime, [&](int64_t i) -> Status {
    Queued& entry = queued[i];
    bool all = true;
    for (const Target& target : plan_.sources[entry.source].targets) {
      all = all && target.held;
      if (!target.held) continue;
      LW_ASSIGN(HeldMatrix matrix, held_matrices_.add(entry.source, target, entry.piece, true));
      if (is_small(matrix)) {
        LW_TRY(run_at_once(matrix));
      } else {
        std::lock_guard lock(mutex_);
        large.push_back(std::move(matrix));
      }
    }
    if (all) entry.source = -1;
    return {};
  }));
  std::erase_if(queued, [](const Queued& entry) { return entry.source < 0; });
  std::sort(large.begin(), large.end(),
            [](const HeldMatrix& a, const HeldMatrix& b) { return a[0].source < b[0].source; });
  return {};
}

Status Staging::run_large(std::span<const HeldMatrix> matrices) {
  for (size_t begin = 0, end = 0; begin < matrices.size(); begin = end) {
    for (int64_t bytes = 0; end < matrices.size() && (end == begin || bytes < kCachedBytes); ++end) {
      bytes += bytes_of(matrices[end]);
    }
    LW_TRY(run_cached(matrices.subspan(begin, end - begin)));
  }
  return {};
}

int64_t Staging::bytes_of(const HeldMatrix& matrix) const {
  int64_t bytes = 0;
  for (const HeldPiece& held : matrix) {
    bytes += held.piece.rows * held.piece.cols * element_bytes(plan_.sources[held.source]);
  }
  return bytes;
}

bool Staging::is_small(const HeldMatrix& matrix) const {
  return bytes_of(matrix) <= kJobBytes;
}

TensorUnit Staging::unit_of(const HeldPiece& held, float amax) const {
  return shares_scale(*held.target) ? TensorUnit{amax, 0}
                                    : TensorUnit{0, last_element(plan_.sources[held.source], held)};
}

// By this thread.
Status Staging::run_at_once(const HeldMatrix& matrix) {
  float amax = 0;
  for (const HeldPiece& held : matrix) {
    if (!shares_scale(*held.target)) continue;
    LW_ASSIGN(const float maximum, piece_maximum(plan_.sources[held.source], held.piece));
    amax = std::max(amax, maximum);
  }
  for (const HeldPiece& held : matrix) {
    const Source& source = plan_.sources[held.source];
    LW_TRY(apply_piece(plan_, source, *held.target, held.piece, slot_of(*held.target), unit_of(held, amax)));
  }
  held_matrices_.release(matrix);
  return {};
}

std::vector<Staging::HeldJob> Staging::jobs_of(std::span<const HeldMatrix> matrices) const {
  std::vector<HeldJob> jobs;
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (const HeldPiece& held : matrices[m]) {
      const Source& source = plan_.sources[held.source];
      const Target& target = *held.target;
      const TensorUnit unit = unit_of(held, shares_scale(target) ? maxima_.expected(target) : 0);
      const int64_t step = rows_at_a_time(source, held.piece, target.tile_rows);
      for (int64_t row = held.piece.row; row < held.piece.row + held.piece.rows; row += step) {
        jobs.push_back({&source, &target, rows_of(source, held.piece, row, step), m, unit});
      }
    }
  }
  return jobs;
}

Status Staging::apply(const HeldJob& job) const {
  return apply_piece(plan_, *job.source, *job.target, job.piece, slot_of(*job.target), job.unit);
}

// Each job is looked through and, while the cache has it, encoded with the maximum that is expected. Matrices
// whose maximum is another are encoded again.
Status Staging::run_cached(std::span<const HeldMatrix> matrices) {
  std::vector<HeldJob> jobs = jobs_of(matrices);
  LW_TRY(run_jobs(std::ssize(jobs), [&](int64_t i) -> Status {
    HeldJob& job = jobs[i];
    if (!shares_scale(*job.target)) return apply(job);
    LW_ASSIGN(job.maximum, piece_maximum(*job.source, job.piece));
    return job.maximum <= job.unit.amax ? apply(job) : Status{};
  }));
  std::vector<float> amax(matrices.size(), 0.0f);
  for (const HeldJob& job : jobs) amax[job.matrix] = std::max(amax[job.matrix], job.maximum);
  Status status = run_jobs(std::ssize(jobs), [&](int64_t i) -> Status {
    HeldJob& job = jobs[i];
    if (!shares_scale(*job.target) || job.unit.amax == amax[job.matrix]) return {};
    job.unit.amax = amax[job.matrix];
    return apply(job);
  });
  for (size_t m = 0; m < matrices.size(); ++m) {
    const Target& target = *matrices[m].front().target;
    if (status && shares_scale(target)) maxima_.found(target, amax[m]);
    held_matrices_.release(matrices[m]);
  }
  return status;
}

}  // namespace liveweight
