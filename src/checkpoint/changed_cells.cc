#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "checkpoint/changed_cells.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include <cstring>

#include "checkpoint/changed_cells.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A bit for each of kCellsAtOnce cells: whether it differs.
template <typename Cell>
uint64_t differing(const std::byte* a, const std::byte* b) {
  const hn::CappedTag<Cell, kCellsAtOnce> tag;
  uint64_t word = 0;
  for (uint64_t cell = 0; cell < kCellsAtOnce; cell += hn::Lanes(tag)) {
    const auto left = hn::LoadU(tag, reinterpret_cast<const Cell*>(a) + cell);
    const auto right = hn::LoadU(tag, reinterpret_cast<const Cell*>(b) + cell);
    uint8_t bits[8] = {};
    hn::StoreMaskBits(tag, hn::Ne(left, right), bits);
    uint64_t part = 0;
    std::memcpy(&part, bits, sizeof part);
    word |= part << cell;
  }
  return word;
}

template <typename Cell>
uint64_t find_in(const std::byte* old, const std::byte* updated, uint64_t count, uint64_t first,
                 uint32_t* positions, std::byte* values) {
  uint64_t found = 0;
  for (uint64_t at = 0; at < count; at += kCellsAtOnce) {
    uint64_t word = differing<Cell>(old + at * sizeof(Cell), updated + at * sizeof(Cell));
    for (; word != 0; word &= word - 1, ++found) {
      const uint64_t cell = at + static_cast<uint64_t>(__builtin_ctzll(word));
      positions[found] = static_cast<uint32_t>(first + cell);
      std::memcpy(values + found * sizeof(Cell), updated + cell * sizeof(Cell), sizeof(Cell));
    }
  }
  return found;
}

uint64_t find_changed_cells_on(int64_t cell, const std::byte* old, const std::byte* updated, uint64_t count,
                               uint64_t first, uint32_t* positions, std::byte* values) {
  switch (cell) {
    case 1:
      return find_in<uint8_t>(old, updated, count, first, positions, values);
    case 2:
      return find_in<uint16_t>(old, updated, count, first, positions, values);
    case 4:
      return find_in<uint32_t>(old, updated, count, first, positions, values);
    default:
      return find_in<uint64_t>(old, updated, count, first, positions, values);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(find_changed_cells_on);

uint64_t find_changed_cells(int64_t cell, const std::byte* old, const std::byte* updated, uint64_t count,
                            uint64_t first, uint32_t* positions, std::byte* values) {
  const auto find = HWY_DYNAMIC_DISPATCH(find_changed_cells_on);
  const uint64_t left = count % kCellsAtOnce, whole = count - left;
  const uint64_t found = find(cell, old, updated, whole, first, positions, values);
  if (left == 0) return found;
  const auto bytes = static_cast<uint64_t>(cell);
  std::byte last[2][kCellsAtOnce * sizeof(uint64_t)] = {};  // the last few, with zeros after them
  std::memcpy(last[0], old + whole * bytes, left * bytes);
  std::memcpy(last[1], updated + whole * bytes, left * bytes);
  return found +
         find(cell, last[0], last[1], kCellsAtOnce, first + whole, positions + found, values + found * bytes);
}

}  // namespace liveweight
#endif
