#include "staged_rows.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "checkpoint/changed_cells.h"
#include "live/parallel_jobs.h"
#include "quantize/unpack_int4.h"
#include "tensor/codec.h"

namespace liveweight::python {
namespace {

constexpr uint64_t kBlock = 64 * kCellsAtOnce;  // elements compared before it is asked whether that goes on
constexpr uint64_t kPosition = sizeof(uint32_t);

// The quantizer writes past the caches where it finds its output aligned; what is read at once should not go
// there.
std::byte* off_alignment(std::vector<std::byte>& memory, uint64_t bytes) {
  if (memory.size() < bytes + 128) memory.resize(bytes + 128);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return memory.data() + ((address + 63) / 64 * 64 - address) + 32;
}

uint64_t nibble_bytes(uint64_t codes) {
  return (codes + 1) / 2;
}

void pack_nibbles(std::byte* to, const std::byte* from, uint64_t codes) {
  const auto nibble = [&](uint64_t i) { return (std::to_integer<unsigned>(from[i]) + 8) & 15; };
  for (uint64_t pair = 0; pair < codes / 2; ++pair)
    to[pair] = static_cast<std::byte>(nibble(2 * pair) | nibble(2 * pair + 1) << 4);
  if (codes % 2) to[codes / 2] = static_cast<std::byte>(nibble(codes - 1));
}

template <typename Cell>
void put_elements(std::byte* to, const std::byte* positions, const std::byte* values, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t position = 0;
    std::memcpy(&position, positions + i * kPosition, kPosition);
    std::memcpy(to + position * sizeof(Cell), values + i * sizeof(Cell), sizeof(Cell));
  }
}

// Where a band's part begins in its owner's buffers, and how much of it there is.
struct BandPart {
  std::byte* to = nullptr;
  uint64_t bytes = 0;
  int64_t cell = 1;
};

std::array<BandPart, 3> parts_of(const Matrix& matrix, const Rows& band) {
  const MatrixShape shape = shape_of(matrix.scheme, matrix.dtype, band.rows, matrix.cols);
  const auto part = [&](std::byte* base, const PartShape& of, int64_t row) {
    if (!base || of.rows == 0) return BandPart{};
    const int64_t cell = bits_of(of.dtype) / 8;
    return BandPart{base + row * of.cols * cell, of.bytes(), cell};
  };
  const int64_t scale_row = scale_row_of(matrix.scheme, band.row);
  return {part(matrix.codes, shape.codes, band.row), part(matrix.scales, shape.scales, scale_row),
          part(matrix.zero_points, shape.zero_points, scale_row)};
}

}  // namespace

// Of one thread, for a band at a time.
struct StagedRows::Scratch {
  std::vector<std::byte> parts[kParts];
  std::vector<uint32_t> positions;
  std::vector<std::byte> values;
};

Status StagedRows::stage(const std::string& name, const Matrix& matrix, const Rows& rows, float amax,
                         Arena& arena) {
  const int64_t bands = band_count(matrix, rows);
  stretches_.resize(static_cast<size_t>(bands * kParts));
  const TensorUnit unit = tensor_unit(matrix, rows, amax);
  return run_jobs(bands, [&](int64_t i) {
    return stage_band(name, matrix, band_of(matrix, rows, i), unit,
                      &stretches_[static_cast<size_t>(i * kParts)], arena);
  });
}

Status StagedRows::stage_band(const std::string& name, const Matrix& matrix, const Rows& band,
                              const TensorUnit& unit, Stretch* stretches, Arena& arena) {
  thread_local Scratch scratch;
  const auto parts = parts_of(matrix, band);
  Matrix fresh = matrix;
  fresh.first_row = band.row;
  std::byte** const places[kParts] = {&fresh.codes, &fresh.scales, &fresh.zero_points};
  for (size_t i = 0; i < kParts; ++i)
    if (parts[i].to) *places[i] = off_alignment(scratch.parts[i], parts[i].bytes);
  LW_TRY(quantize_band(name, fresh, band, unit));
  const bool one_scale = matrix.scheme.granularity == Granularity::kTensor;
  for (size_t i = 0; i < kParts; ++i) {
    if (i > 0 && one_scale && band.row > 0) continue;  // the first band has it
    stretches[i].to = parts[i].to;
    stretches[i].bytes = parts[i].bytes;
    stretches[i].cell = parts[i].cell;
    const bool nibbles = i == 0 && matrix.scheme.element == Element::kInt4;
    LW_TRY(keep(stretches[i], *places[i], nibbles, scratch, arena));
  }
  return {};
}

Status StagedRows::keep(Stretch& stretch, const std::byte* fresh, bool nibbles, Scratch& scratch,
                        Arena& arena) {
  const uint64_t whole_bytes = nibbles ? nibble_bytes(stretch.bytes) : stretch.bytes;
  const auto cell = static_cast<uint64_t>(stretch.cell);
  if (find_elements(stretch, fresh, whole_bytes / (kPosition + cell) / 2, scratch)) {
    stretch.form = Form::kElements;
    LW_TRY(reserve(stretch, stretch.changed * (kPosition + cell), arena));
    if (stretch.changed == 0) return {};
    std::memcpy(stretch.held, scratch.positions.data(), stretch.changed * kPosition);
    std::memcpy(stretch.held + stretch.changed * kPosition, scratch.values.data(), stretch.changed * cell);
    return {};
  }
  LW_TRY(reserve(stretch, whole_bytes, arena));
  stretch.form = nibbles ? Form::kNibbles : Form::kBytes;
  if (nibbles) {
    pack_nibbles(stretch.held, fresh, stretch.bytes);
  } else {
    std::memcpy(stretch.held, fresh, stretch.bytes);
  }
  return {};
}

// Into the scratch; false where there are more than `limit`, or there will be as it looks.
bool StagedRows::find_elements(Stretch& stretch, const std::byte* fresh, uint64_t limit, Scratch& scratch) {
  const auto cell = static_cast<uint64_t>(stretch.cell);
  const uint64_t count = stretch.bytes / cell, room = limit + limit / 4 + kBlock + 2;
  if (scratch.positions.size() < room) scratch.positions.resize(room);
  if (scratch.values.size() < room * cell) scratch.values.resize(room * cell);
  uint64_t found = 0;
  const auto compare = [&](const std::byte* old, const std::byte* updated, uint64_t first, uint64_t cells) {
    found += find_changed_cells(stretch.cell, old, updated, cells, first, &scratch.positions[found],
                                &scratch.values[found * cell]);
  };
  for (uint64_t at = 0; at < count; at += kBlock) {
    const uint64_t cells = std::min(kBlock, count - at), even = cells / kCellsAtOnce * kCellsAtOnce;
    const uint64_t end = at + even, left = cells - even;
    compare(stretch.to + at * cell, fresh + at * cell, at, even);
    if (left > 0) {  // the last few, with zeros after them
      std::byte last[2][kCellsAtOnce * sizeof(uint64_t)] = {};
      std::memcpy(last[0], stretch.to + end * cell, left * cell);
      std::memcpy(last[1], fresh + end * cell, left * cell);
      compare(last[0], last[1], end, kCellsAtOnce);
    }
    if (found > limit / 4 + limit * (at + cells) / count) return false;
  }
  stretch.changed = found;
  return true;
}

Status StagedRows::reserve(Stretch& stretch, uint64_t bytes, Arena& arena) {
  if (bytes <= stretch.capacity) return {};
  LW_ASSIGN(stretch.held, arena.allocate(bytes));
  stretch.capacity = bytes;
  return {};
}

void StagedRows::write() const {
  ThreadPool::shared().parallel_for(static_cast<int64_t>(stretches_.size()),
                                    [&](int64_t i) { write(stretches_[static_cast<size_t>(i)]); });
}

void StagedRows::write(const Stretch& stretch) {
  const std::byte* values = stretch.held + stretch.changed * kPosition;
  if (stretch.form == Form::kBytes) {
    std::memcpy(stretch.to, stretch.held, stretch.bytes);
  } else if (stretch.form == Form::kNibbles) {
    unpack_int4({stretch.held, 1, static_cast<int64_t>(stretch.bytes), 0}, stretch.to);
  } else if (stretch.cell == 1) {
    put_elements<uint8_t>(stretch.to, stretch.held, values, stretch.changed);
  } else if (stretch.cell == 2) {
    put_elements<uint16_t>(stretch.to, stretch.held, values, stretch.changed);
  } else {
    put_elements<uint32_t>(stretch.to, stretch.held, values, stretch.changed);
  }
}

}  // namespace liveweight::python
