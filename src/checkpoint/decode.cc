#include "checkpoint/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

namespace liveweight {
namespace {

tl::unexpected<Error> bad(const std::string& name, const std::string& what) {
  return fail(ErrorCode::kBadCheckpoint, fmt::format("tensor {}: {}", name, what), {name});
}

// The order that sorts `positions`; an error where one comes twice.
Result<std::vector<uint32_t>> order_of(const std::string& name, std::span<const uint32_t> positions) {
  std::vector<uint32_t> order(positions.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return positions[a] < positions[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (positions[order[i]] != positions[order[i - 1]]) continue;
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: position {} comes twice", name, positions[order[i]]), {name});
  }
  return order;
}

bool strictly_ascending(std::span<const uint32_t> positions) {
  for (size_t i = 1; i < positions.size(); ++i) {
    if (positions[i] <= positions[i - 1]) return false;
  }
  return true;
}

// Positions in ascending order with their values, `cell` bytes each.
Result<ChangedCells> sorted(const std::string& name, std::span<const uint32_t> positions,
                            std::span<const std::byte> values, uint64_t cell) {
  if (strictly_ascending(positions)) {
    return ChangedCells{{positions.begin(), positions.end()}, {values.begin(), values.end()}};
  }
  LW_ASSIGN(const std::vector<uint32_t> order, order_of(name, positions));
  ChangedCells changes;
  changes.positions.reserve(positions.size());
  changes.values.reserve(values.size());
  for (const uint32_t from : order) {
    changes.positions.push_back(positions[from]);
    const auto value = values.subspan(from * cell, cell);
    changes.values.insert(changes.values.end(), value.begin(), value.end());
  }
  return changes;
}

// Changed bytes, in ascending order, to changed cells: what a cell's other bytes are, the base says.
ChangedCells cells_of(const TensorView& base, const ChangedCells& bytes) {
  const auto cell = static_cast<uint64_t>(cell_bytes(base.dtype));
  ChangedCells cells;
  for (size_t i = 0; i < bytes.positions.size(); ++i) {
    const auto position = static_cast<uint32_t>(bytes.positions[i] / cell);
    if (cells.positions.empty() || cells.positions.back() != position) {
      cells.positions.push_back(position);
      cells.values.insert(cells.values.end(), base.data + position * cell, base.data + (position + 1) * cell);
    }
    cells.values[cells.values.size() - cell + bytes.positions[i] % cell] = bytes.values[i];
  }
  return cells;
}

// An index as it was written; its sign survives.
template <typename Integer>
Status read_integers(const std::string& name, const TensorView& view, std::vector<uint64_t>& out) {
  out.resize(view.bytes / sizeof(Integer));
  for (size_t i = 0; i < out.size(); ++i) {
    Integer value;
    std::memcpy(&value, view.data + i * sizeof value, sizeof value);
    if (std::is_signed_v<Integer> && value < 0) return bad(name, fmt::format("index {} is negative", value));
    out[i] = static_cast<std::make_unsigned_t<Integer>>(value);
  }
  return {};
}

Result<std::vector<uint64_t>> integers_of(const std::string& name, const TensorView& view) {
  std::vector<uint64_t> out;
  Status status =
      fail(ErrorCode::kWrongDtype,
           fmt::format("tensor {}.indices: expected integers, got {}", name, to_string(view.dtype)),
           {name + ".indices"});
  if (view.dtype == DType::kU8) status = read_integers<uint8_t>(name, view, out);
  if (view.dtype == DType::kI8) status = read_integers<int8_t>(name, view, out);
  if (view.dtype == DType::kU16) status = read_integers<uint16_t>(name, view, out);
  if (view.dtype == DType::kI16) status = read_integers<int16_t>(name, view, out);
  if (view.dtype == DType::kU32) status = read_integers<uint32_t>(name, view, out);
  if (view.dtype == DType::kI32) status = read_integers<int32_t>(name, view, out);
  if (view.dtype == DType::kU64) status = read_integers<uint64_t>(name, view, out);
  if (view.dtype == DType::kI64) status = read_integers<int64_t>(name, view, out);
  LW_TRY(status);
  return out;
}

// Rows of [row, column], of the base as a matrix of its last extent's width, to flat positions.
Status flatten(const std::string& name, const Shape& shape, std::vector<uint64_t>& indices) {
  const auto columns = static_cast<uint64_t>(shape.empty() ? 1 : shape.back());
  const uint64_t rows = columns == 0 ? 0 : static_cast<uint64_t>(element_count(shape)) / columns;
  for (size_t i = 0; i * 2 < indices.size(); ++i) {
    const uint64_t row = indices[i * 2], column = indices[i * 2 + 1];
    if (row >= rows || column >= columns) {
      return bad(name, fmt::format("index [{}, {}] is out of range of [{}, {}]", row, column, rows, columns));
    }
    indices[i] = row * columns + column;
  }
  indices.resize(indices.size() / 2);
  return {};
}

Status check_range(const std::string& name, std::span<const uint32_t> positions, uint64_t cells) {
  const auto largest = std::max_element(positions.begin(), positions.end());
  if (largest == positions.end() || *largest < cells) return {};
  return bad(name, fmt::format("index {} is out of range of its {} elements", *largest, cells));
}

Result<std::vector<uint32_t>> positions_of(const std::string& name, const TensorView& base,
                                           const TensorView& indices, uint64_t cells) {
  LW_ASSIGN(std::vector<uint64_t> wide, integers_of(name, indices));
  if (indices.shape.size() == 2) LW_TRY(flatten(name, base.shape, wide));
  for (const uint64_t index : wide) {
    if (index >= cells)
      return bad(name, fmt::format("index {} is out of range of its {} elements", index, cells));
  }
  return std::vector<uint32_t>(wide.begin(), wide.end());
}

Status check_indices(const std::string& name, const TensorView& base, const TensorView& indices,
                     const TensorView& values) {
  const size_t rank = indices.shape.size();
  if (rank != 1 && !(rank == 2 && indices.shape[1] == 2)) {
    return fail(
        ErrorCode::kWrongShape,
        fmt::format("tensor {}.indices: expected [n] or [n, 2], got {}", name, to_string(indices.shape)),
        {name + ".indices"});
  }
  if (values.shape != Shape{indices.shape[0]}) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}.values: expected [{}], one for each index, got {}", name,
                            indices.shape[0], to_string(values.shape)),
                {name + ".values"});
  }
  const DType expected = bits_of(base.dtype) < 8 ? DType::kU8 : base.dtype;
  if (values.dtype == expected) return {};
  return fail(ErrorCode::kWrongDtype,
              fmt::format("tensor {}.values: expected {}, got {}", name, to_string(expected),
                          to_string(values.dtype)),
              {name + ".values"});
}

}  // namespace

Result<TensorDelta> decode_xor(const std::string& name, const TensorView& base, const Blob& difference) {
  if (difference.bytes != base.bytes) {
    return bad(
        name, fmt::format("xor: expected {} bytes, as the tensor has, got {}", base.bytes, difference.bytes));
  }
  const auto cell = static_cast<uint64_t>(cell_bytes(base.dtype));
  // Eight bytes without a difference are skipped at once.
  ChangedCells changes;
  const std::byte* bits = difference.data.get();
  for (uint64_t at = 0; at < base.bytes; at += cell) {
    uint64_t changed = 0;
    if (at % sizeof changed == 0 && at + sizeof changed <= base.bytes) {
      std::memcpy(&changed, bits + at, sizeof changed);
      if (changed == 0) {
        at += sizeof changed - cell;
        continue;
      }
    }
    changed = 0;
    std::memcpy(&changed, bits + at, cell);
    if (changed == 0) continue;
    changes.positions.push_back(static_cast<uint32_t>(at / cell));
    for (uint64_t b = at; b < at + cell; ++b) changes.values.push_back(base.data[b] ^ bits[b]);
  }
  return make_delta(name, base.dtype, base.shape, std::move(changes));
}

Result<TensorDelta> decode_overwrite(const std::string& name, const TensorView& base, const Blob& blob) {
  uint32_t count = 0;
  if (blob.bytes >= sizeof count) std::memcpy(&count, blob.data.get(), sizeof count);
  const uint64_t expected = sizeof count + uint64_t{count} * (sizeof(uint32_t) + 1);
  if (blob.bytes != expected) {
    return bad(name, fmt::format("overwrite: expected {} bytes for {} positions, got {}", expected, count,
                                 blob.bytes));
  }
  std::vector<uint32_t> positions(count);
  if (count > 0) std::memcpy(positions.data(), blob.data.get() + sizeof count, count * sizeof(uint32_t));
  LW_TRY(check_range(name, positions, base.bytes));
  const auto values = blob.view().subspan(sizeof count + count * sizeof(uint32_t));
  LW_ASSIGN(const ChangedCells bytes, sorted(name, positions, values, 1));
  return make_delta(name, base.dtype, base.shape, cells_of(base, bytes));
}

Result<TensorDelta> decode_indices(const std::string& name, const TensorView& base, const TensorView& indices,
                                   const TensorView& values, std::shared_ptr<const void> owner) {
  LW_TRY(check_indices(name, base, indices, values));
  const auto cell = static_cast<uint64_t>(cell_bytes(base.dtype));
  const uint64_t cells = base.bytes / cell;
  const bool usable = indices.dtype == DType::kU32 && indices.shape.size() == 1 &&
                      reinterpret_cast<uintptr_t>(indices.data) % alignof(uint32_t) == 0;
  if (usable) {
    const std::span view(reinterpret_cast<const uint32_t*>(indices.data), indices.bytes / sizeof(uint32_t));
    if (strictly_ascending(view)) {
      LW_TRY(check_range(name, view.last(view.empty() ? 0 : 1), cells));
      return TensorDelta{name, base.dtype, base.shape, view, {values.data, values.bytes}, std::move(owner)};
    }
  }
  LW_ASSIGN(const std::vector<uint32_t> positions, positions_of(name, base, indices, cells));
  LW_ASSIGN(ChangedCells changes, sorted(name, positions, {values.data, values.bytes}, cell));
  return make_delta(name, base.dtype, base.shape, std::move(changes));
}

}  // namespace liveweight
