#include "staged_rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "checkpoint/changed_cells.h"
#include "live/parallel_jobs.h"
#include "quantize/unpack_int4.h"
#include "tensor/codec.h"

namespace liveweight::python {
namespace {

constexpr uint64_t kBlock = 64 * kCellsAtOnce;  // elements compared before it is asked whether that goes on
constexpr uint64_t kPosition = sizeof(uint32_t);

// Rows are kept instead of read again where that takes no more than this part of them.
constexpr uint64_t kLittle = 8;

// The quantizer writes past the caches where it finds its output aligned; what is read at once should not go
// there.
constexpr uint64_t kOffAlignment = 32;

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

std::byte* scratch_of(std::vector<std::byte>& memory, uint64_t bytes) {
  if (memory.size() < bytes + 64 + kOffAlignment) memory.resize(bytes + 64 + kOffAlignment);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return memory.data() + ((address + 63) / 64 * 64 - address) + kOffAlignment;
}

}  // namespace

Status StagedRows::stage(const std::string& name, const Matrix& matrix, const Rows& rows, float amax,
                         Arena& arena) {
  const int64_t bands = band_count(matrix, rows);
  expect(bands);
  const TensorUnit unit = tensor_unit(matrix, rows, amax);
  return run_jobs(bands, [&](int64_t i) -> Status {
    LW_TRY(stage_band(name, matrix, band_of(matrix, rows, i), unit, false,
                      &stretches_[static_cast<size_t>(i * kParts)], arena));
    return {};
  });
}

Result<bool> StagedRows::stage_little(const std::string& name, const Matrix& matrix, const Rows& rows,
                                      int64_t band, Arena& arena) {
  return stage_band(name, matrix, band_of(matrix, rows, band), tensor_unit(matrix, rows, 0), true,
                    &stretches_[static_cast<size_t>(band * kParts)], arena);
}

// Whether all of its parts are kept; none of them is where the codes, which come first, are not.
Result<bool> StagedRows::stage_band(const std::string& name, const Matrix& matrix, const Rows& band,
                                    const TensorUnit& unit, bool only_little, Stretch* stretches,
                                    Arena& arena) {
  const auto parts = parts_of(matrix, band);
  Matrix fresh = matrix;
  fresh.first_row = band.row;
  std::byte** const places[kParts] = {&fresh.codes, &fresh.scales, &fresh.zero_points};
  thread_local std::vector<std::byte> scratch[kParts];
  for (size_t i = 0; i < kParts; ++i) {
    if (parts[i].to) *places[i] = scratch_of(scratch[i], parts[i].bytes);
  }
  LW_TRY(quantize_band(name, fresh, band, unit));
  const bool one_scale = matrix.scheme.granularity == Granularity::kTensor;
  bool kept = true;
  for (size_t i = 0; i < kParts && kept; ++i) {
    if (!parts[i].to || (i > 0 && one_scale && band.row > 0)) continue;  // the first band has the scale
    stretches[i].to = parts[i].to;
    stretches[i].bytes = parts[i].bytes;
    stretches[i].cell = parts[i].cell;
    const bool nibbles = i == 0 && matrix.scheme.element == Element::kInt4;
    LW_ASSIGN(kept, keep(stretches[i], *places[i], nibbles, i == 0 && only_little, arena));
  }
  return kept;
}

// False where there are more than `limit`, or there will be as it looks.
bool StagedRows::find_changes(const std::byte* old, const std::byte* fresh, uint64_t count,
                              int64_t cell_bytes, uint64_t limit, Changes& changes) {
  const auto cell = static_cast<uint64_t>(cell_bytes);
  const uint64_t room = limit + limit / 4 + kBlock;
  if (changes.positions.size() < room) changes.positions.resize(room);
  if (changes.values.size() < room * cell) changes.values.resize(room * cell);
  uint64_t& found = changes.count = 0;
  for (uint64_t at = 0; at < count; at += kBlock) {
    const uint64_t cells = std::min(kBlock, count - at);
    found += find_changed_cells(cell_bytes, old + at * cell, fresh + at * cell, cells, at,
                                &changes.positions[found], &changes.values[found * cell]);
    if (found > limit / 4 + limit * (at + cells) / count) return false;
  }
  return true;
}

Result<bool> StagedRows::keep(Stretch& stretch, const std::byte* fresh, bool nibbles, bool only_little,
                              Arena& arena) {
  thread_local Changes changes;
  const auto cell = static_cast<uint64_t>(stretch.cell);
  const uint64_t whole_bytes = nibbles ? nibble_bytes(stretch.bytes) : stretch.bytes;
  const uint64_t limit = whole_bytes / (kPosition + cell) / (only_little ? kLittle : 2);
  let_go(stretch, arena);
  if (find_changes(stretch.to, fresh, stretch.bytes / cell, stretch.cell, limit, changes)) {
    LW_TRY(hold_elements(stretch, changes, arena));
  } else if (only_little) {
    stretch = Stretch{};
  } else if (nibbles) {
    stretch.form = Form::kNibbles;
    LW_TRY(hold(stretch, whole_bytes, arena));
    pack_nibbles(stretch.held, fresh, stretch.bytes);
  } else {
    stretch.form = Form::kBytes;
    LW_TRY(hold(stretch, stretch.bytes, arena));
    std::memcpy(stretch.held, fresh, stretch.bytes);
  }
  return stretch.to != nullptr;
}

Status StagedRows::hold_elements(Stretch& stretch, const Changes& changes, Arena& arena) {
  const auto cell = static_cast<uint64_t>(stretch.cell);
  stretch.form = Form::kElements;
  stretch.changed = changes.count;
  LW_TRY(hold(stretch, changes.count * (kPosition + cell), arena));
  if (changes.count == 0) return {};
  std::memcpy(stretch.held, changes.positions.data(), changes.count * kPosition);
  std::memcpy(stretch.held + changes.count * kPosition, changes.values.data(), changes.count * cell);
  return {};
}

Status StagedRows::hold(Stretch& stretch, uint64_t bytes, Arena& arena) {
  if (bytes == 0) return {};
  LW_ASSIGN(stretch.held, arena.allocate(bytes));
  stretch.held_bytes = bytes;
  return {};
}

void StagedRows::let_go(Stretch& stretch, Arena& arena) {
  if (stretch.held_bytes > 0) arena.give_back(stretch.held, stretch.held_bytes);
  stretch.held = nullptr;
  stretch.held_bytes = 0;
}

void StagedRows::drop(Arena& arena) {
  for (Stretch& stretch : stretches_) let_go(stretch, arena);
  stretches_.clear();
}

void StagedRows::write(int64_t band) const {
  for (int64_t i = band * kParts; i < (band + 1) * kParts; ++i) write(stretches_[static_cast<size_t>(i)]);
}

void StagedRows::write() const {
  ThreadPool::shared().parallel_for(static_cast<int64_t>(stretches_.size()),
                                    [&](int64_t i) { write(stretches_[static_cast<size_t>(i)]); });
}

void StagedRows::write(const Stretch& stretch) {
  if (stretch.held_bytes == 0) return;
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
