#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/threads.h"
#include "checkpoint/changed_cells.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;  // bytes that one thread compares at a time
constexpr uint64_t kBlock = 64 * kCellsAtOnce;  // cells that room is made for at a time

// The changed cells among those from `begin` to `end`.
ChangedCells compare_piece(uint64_t cell, const std::byte* old, const std::byte* updated, uint64_t begin,
                           uint64_t end) {
  ChangedCells piece;
  uint64_t found = 0;
  for (uint64_t at = begin; at < end; at += kBlock) {
    const uint64_t count = std::min(kBlock, end - at);
    if (piece.positions.size() < found + count) {
      piece.positions.resize(2 * piece.positions.size() + kBlock);
      piece.values.resize(piece.positions.size() * cell);
    }
    found += find_changed_cells(static_cast<int64_t>(cell), old + at * cell, updated + at * cell, count, at,
                                &piece.positions[found], &piece.values[found * cell]);
  }
  piece.positions.resize(found);
  piece.values.resize(found * cell);
  return piece;
}

// The pieces in their order, joined by all threads.
ChangedCells join(const std::vector<ChangedCells>& pieces, uint64_t cell) {
  std::vector<uint64_t> begins;
  uint64_t count = 0;
  for (const ChangedCells& piece : pieces) {
    begins.push_back(count);
    count += piece.positions.size();
  }
  ChangedCells whole;
  whole.positions.resize(count);
  whole.values.resize(count * cell);
  ThreadPool::shared().parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const ChangedCells& piece = pieces[static_cast<size_t>(p)];
    const uint64_t begin = begins[static_cast<size_t>(p)];
    std::copy(piece.positions.begin(), piece.positions.end(), whole.positions.begin() + begin);
    std::copy(piece.values.begin(), piece.values.end(), whole.values.begin() + begin * cell);
  });
  return whole;
}

Status check_alike(const std::string& name, const TensorView& old, const TensorView& updated) {
  if (old.dtype != updated.dtype) {
    return fail(ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected {} as in the old version, got {}", name,
                            to_string(old.dtype), to_string(updated.dtype)),
                {name});
  }
  if (old.shape != updated.shape || old.bytes != updated.bytes) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected {} as in the old version, got {}", name,
                            to_string(old.shape), to_string(updated.shape)),
                {name});
  }
  if (old.bytes / static_cast<uint64_t>(cell_bytes(old.dtype)) <= std::numeric_limits<uint32_t>::max())
    return {};
  return fail(ErrorCode::kUnsupported, fmt::format("tensor {}: deltas hold at most 2^32 - 1 elements", name),
              {name});
}

}  // namespace

Result<TensorDelta> compare_tensors(const std::string& name, const TensorView& old,
                                    const TensorView& updated) {
  LW_TRY(check_alike(name, old, updated));
  const auto cell = static_cast<uint64_t>(cell_bytes(old.dtype));
  const uint64_t cells = old.bytes / cell, each = kPiece / cell;
  std::vector<ChangedCells> pieces((cells + each - 1) / each);
  ThreadPool::shared().parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const uint64_t begin = static_cast<uint64_t>(p) * each;
    pieces[static_cast<size_t>(p)] =
        compare_piece(cell, old.data, updated.data, begin, std::min(begin + each, cells));
  });
  return make_delta(name, old.dtype, old.shape, join(pieces, cell));
}

TensorDelta make_delta(std::string name, DType dtype, Shape shape, ChangedCells cells) {
  const auto owner = std::make_shared<const ChangedCells>(std::move(cells));
  return {std::move(name), dtype, std::move(shape), owner->positions, owner->values, owner};
}

void patch(const TensorDelta& delta, std::span<std::byte> tensor) {
  const auto cell = static_cast<uint64_t>(cell_bytes(delta.dtype));
  const std::byte* value = delta.values.data();
  for (const uint32_t position : delta.positions) {
    std::memcpy(tensor.data() + position * cell, value, cell);
    value += cell;
  }
}

}  // namespace liveweight
