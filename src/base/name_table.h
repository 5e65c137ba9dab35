// From names to their numbers, for very many of them: the names stay where they are, and what is kept of each
// is eight bytes in one array, so a look at a name costs about as much as reading it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace liveweight {

// `name_of(number)` gives the name of a number that was added, as a string_view.
class NameTable {
 public:
  // Room for so many names. Without it the table grows as they come.
  void reserve(size_t names, const auto& name_of) {
    size_t cells = kFewest;
    while (cells / 4 * 3 < names) cells *= 2;
    if (cells > cells_.size()) grow(cells, name_of);
  }

  // The number that has this name already; else none, and the name has this number from now on.
  std::optional<uint32_t> add(std::string_view name, uint32_t number, const auto& name_of) {
    if (names_ + 1 > cells_.size() / 4 * 3) grow(std::max(kFewest, cells_.size() * 2), name_of);
    const uint64_t hash = hash_of(name);
    Cell& cell = cells_[place_of(name, hash, name_of)];
    if (cell.number_above != 0) return cell.number_above - 1;
    cell = {tag_of(hash), number + 1};
    ++names_;
    return std::nullopt;
  }

  std::optional<uint32_t> find(std::string_view name, const auto& name_of) const {
    if (names_ == 0) return std::nullopt;
    const Cell& cell = cells_[place_of(name, hash_of(name), name_of)];
    return cell.number_above == 0 ? std::nullopt : std::optional(cell.number_above - 1);
  }

  // Each name's number becomes new_number(number); two names must not have the same.
  void renumber(const auto& new_number) {
    for (Cell& cell : cells_) {
      if (cell.number_above != 0) cell.number_above = new_number(cell.number_above - 1) + 1;
    }
  }

  size_t size() const { return names_; }

 private:
  struct Cell {
    uint32_t tag = 0;           // of the name's hash, the bits that do not say where it is
    uint32_t number_above = 0;  // by one; 0: nothing is here
  };
  static constexpr size_t kFewest = 16;  // cells, a power of two, at most three quarters of which are used

  static uint64_t hash_of(std::string_view name);
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  // Where the name is, or would be.
  size_t place_of(std::string_view name, uint64_t hash, const auto& name_of) const {
    size_t place = hash & (cells_.size() - 1);
    while (cells_[place].number_above != 0) {
      const Cell& cell = cells_[place];
      if (cell.tag == tag_of(hash) && name_of(cell.number_above - 1) == name) break;
      place = (place + 1) & (cells_.size() - 1);
    }
    return place;
  }

  void grow(size_t cells, const auto& name_of) {
    std::vector<Cell> before(cells);
    before.swap(cells_);
    for (const Cell& cell : before) {
      if (cell.number_above == 0) continue;
      size_t place = hash_of(name_of(cell.number_above - 1)) & (cells - 1);
      while (cells_[place].number_above != 0) place = (place + 1) & (cells - 1);
      cells_[place] = cell;
    }
  }

  std::vector<Cell> cells_;
  size_t names_ = 0;
};

}  // namespace liveweight
