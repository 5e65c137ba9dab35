#include <fmt/format.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/threads.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr uint64_t kPiece = uint64_t{1} << 20;  // bytes that one thread compares at a time
constexpr uint64_t kLine = 64;

bool lines_differ(const std::byte* a, const std::byte* b) {
  const hn::CappedTag<uint8_t, kLine> tag;
  auto difference = hn::Zero(tag);
  for (uint64_t at = 0; at < kLine; at += hn::Lanes(tag)) {
    const auto left = hn::LoadU(tag, reinterpret_cast<const uint8_t*>(a) + at);
    const auto right = hn::LoadU(tag, reinterpret_cast<const uint8_t*>(b) + at);
    difference = hn::Or(difference, hn::Xor(left, right));
  }
  return !hn::AllTrue(tag, hn::Eq(difference, hn::Zero(tag)));
}

template <typename Cell>
void compare_cells(const std::byte* old, const std::byte* updated, uint64_t begin, uint64_t end,
                   ChangedCells& piece) {
  for (uint64_t at = begin; at < end; at += sizeof(Cell)) {
    Cell a, b;
    std::memcpy(&a, old + at, sizeof a);
    std::memcpy(&b, updated + at, sizeof b);
    if (a == b) continue;
    piece.positions.push_back(static_cast<uint32_t>(at / sizeof(Cell)));
    piece.values.insert(piece.values.end(), updated + at, updated + at + sizeof(Cell));
  }
}

// A bit of the mask for each cell of the line that differs.
template <typename Cell>
uint64_t mask_of_line(const std::byte* a, const std::byte* b) {
  const hn::CappedTag<Cell, kLine / sizeof(Cell)> tag;
  uint64_t mask = 0;
  for (uint64_t cell = 0; cell < kLine / sizeof(Cell); cell += hn::Lanes(tag)) {
    const auto left = hn::LoadU(tag, reinterpret_cast<const Cell*>(a) + cell);
    const auto right = hn::LoadU(tag, reinterpret_cast<const Cell*>(b) + cell);
    uint8_t bits[8] = {};
    hn::StoreMaskBits(tag, hn::Ne(left, right), bits);
    uint64_t part = 0;
    std::memcpy(&part, bits, sizeof part);
    mask |= part << cell;
  }
  return mask;
}

template <typename Cell>
void compare_piece(const std::byte* old, const std::byte* updated, uint64_t begin, uint64_t end,
                   ChangedCells& piece) {
  uint64_t at = begin;
  for (; at + kLine <= end; at += kLine) {
    if (!lines_differ(old + at, updated + at)) continue;
    for (uint64_t mask = mask_of_line<Cell>(old + at, updated + at); mask != 0; mask &= mask - 1) {
      const uint64_t place = at + static_cast<uint64_t>(std::countr_zero(mask)) * sizeof(Cell);
      piece.positions.push_back(static_cast<uint32_t>(place / sizeof(Cell)));
      piece.values.insert(piece.values.end(), updated + place, updated + place + sizeof(Cell));
    }
  }
  compare_cells<Cell>(old, updated, at, end, piece);
}

using ComparePiece = void (*)(const std::byte*, const std::byte*, uint64_t, uint64_t, ChangedCells&);
ComparePiece compare_piece_of(int64_t cell) {
  switch (cell) {
    case 1:
      return compare_piece<uint8_t>;
    case 2:
      return compare_piece<uint16_t>;
    case 4:
      return compare_piece<uint32_t>;
    default:
      return compare_piece<uint64_t>;
  }
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
  const int64_t cell = cell_bytes(old.dtype);
  const ComparePiece compare = compare_piece_of(cell);
  std::vector<ChangedCells> pieces((old.bytes + kPiece - 1) / kPiece);
  ThreadPool::shared().parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const uint64_t begin = static_cast<uint64_t>(p) * kPiece;
    compare(old.data, updated.data, begin, std::min(begin + kPiece, old.bytes),
            pieces[static_cast<size_t>(p)]);
  });
  return make_delta(name, old.dtype, old.shape, join(pieces, static_cast<uint64_t>(cell)));
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
