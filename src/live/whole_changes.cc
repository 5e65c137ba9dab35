#include "live/whole_changes.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "live/mirrored.h"

namespace liveweight {
namespace {

constexpr uint64_t kLeastBytes = uint64_t{1} << 20;
constexpr uint64_t kShare = 16;

// Pieces may have come in any order.
ChangedCells in_order(const ChangedCells& cells, size_t cell) {
  if (std::is_sorted(cells.positions.begin(), cells.positions.end())) return cells;
  std::vector<size_t> order(cells.positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return cells.positions[a] < cells.positions[b]; });
  ChangedCells sorted;
  sorted.positions.reserve(cells.positions.size());
  sorted.values.reserve(cells.values.size());
  for (const size_t i : order) {
    sorted.positions.push_back(cells.positions[i]);
    const auto value = cells.values.begin() + static_cast<ptrdiff_t>(i * cell);
    sorted.values.insert(sorted.values.end(), value, value + static_cast<ptrdiff_t>(cell));
  }
  return sorted;
}

}  // namespace

WholeChanges::WholeChanges(const Plan::Implementation& plan)
    : plan_(plan), most_bytes_(std::max(kLeastBytes, plan.source_bytes / kShare)) {}

Status WholeChanges::add(const Mirror& mirror, int32_t source, std::span<const Piece> pieces) {
  const Source& facts = plan_.sources[source];
  const TensorView old = mirrored(plan_, mirror, source);
  if (!old.data) return {};
  std::lock_guard lock(mutex_);
  const bool comparable = old.dtype == facts.dtype && old.shape == facts.shape &&
                          facts.rows * facts.cols <= std::numeric_limits<uint32_t>::max();
  if (!comparable) overflow();
  for (const Piece& piece : pieces) {
    if (piece.rows == 0 || piece.cols == 0) continue;
    const int64_t rows_of_run = piece.cols == facts.cols && piece.stride == facts.cols ? piece.rows : 1;
    for (int64_t row = piece.row; row < piece.row + piece.rows && !overflowed_; row += rows_of_run) {
      LW_TRY(add_run(old, source, sub_piece(facts, piece, row, rows_of_run, piece.col, piece.cols)));
    }
  }
  return {};
}

// Elements that follow one another in the flat tensor.
Status WholeChanges::add_run(const TensorView& old, int32_t source, const Piece& run) {
  const Source& facts = plan_.sources[source];
  const int64_t first = run.row * facts.cols + run.col, count = run.rows * run.cols;
  const auto each = element_bytes(facts);
  const auto bytes = static_cast<uint64_t>(count * each);
  LW_ASSIGN(const TensorDelta changed,
            compare_tensors(facts.name, {facts.dtype, {count}, old.data + first * each, bytes},
                            {facts.dtype, {count}, run.data, bytes}));
  ChangedCells& cells = changes_[source];
  for (const uint32_t position : changed.positions) {
    cells.positions.push_back(position + static_cast<uint32_t>(first));
  }
  cells.values.insert(cells.values.end(), changed.values.begin(), changed.values.end());
  bytes_ += changed.positions.size_bytes() + changed.values.size();
  if (bytes_ > most_bytes_) overflow();
  return {};
}

void WholeChanges::overflow() {
  overflowed_ = true;
  changes_.clear();
}

std::vector<TensorDelta> WholeChanges::take(const Mirror& mirror) const {
  std::map<int32_t, TensorDelta> changed;  // by primary: what is tied changes alike
  for (const auto& [source, cells] : changes_) {
    const Source& facts = plan_.sources[source];
    if (cells.positions.empty()) continue;
    changed.emplace(plan_.primary_of(source),
                    make_delta(facts.name, facts.dtype, facts.shape,
                               in_order(cells, static_cast<size_t>(element_bytes(facts)))));
  }
  std::vector<TensorDelta> all;
  for (int32_t source = 0; source < static_cast<int32_t>(plan_.sources.size()); ++source) {
    const auto found = changed.find(plan_.primary_of(source));
    const std::string& name = plan_.sources[source].name;
    if (found == changed.end() || !mirror.find(name).data) continue;
    all.push_back(found->second);
    all.back().name = name;
  }
  return all;
}

}  // namespace liveweight
