// Quantization units whose elements arrive in pieces: buffered, one unit each, only until they are whole.
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "live/meter.h"
#include "live/piece.h"

namespace liveweight {

class PartialUnits {
 public:
  explicit PartialUnits(MemoryMeter& meter) : meter_(meter) {}

  // The part of the piece whose units are all inside it; empty (rows 0) where there is none.
  static Piece whole_units(const Source& source, const Target& target, const Piece& piece);

  // Takes the elements of the piece that belong to units not wholly inside it. Calls `whole` with each unit
  // that they complete. kResourceExhausted where the budget does not hold the unit; errors of `whole` come
  // back.
  Status add(int32_t source_index, const Source& source, int32_t target_index, const Target& target,
             const Piece& piece, const std::function<Status(const Piece&)>& whole);

 private:
  struct Unit {
    std::vector<std::byte> bytes;
    int64_t missing = 0;
  };
  struct Key {
    int32_t source, target;
    int64_t row, col;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };

  Status add_to_unit(const Key& key, const Source& source, const Piece& unit, const Piece& part,
                     const std::function<Status(const Piece&)>& whole);
  // Copies the part into its unit; gives the unit's bytes away when they are whole.
  Result<std::vector<std::byte>> fill(const Key& key, const Source& source, const Piece& unit,
                                      const Piece& part);

  MemoryMeter& meter_;
  std::mutex mutex_;
  std::unordered_map<Key, Unit, KeyHash> units_;
};

}  // namespace liveweight
