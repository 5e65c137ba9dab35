#include "checkpoint/changed_cells.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/targets_fixture.h"

namespace liveweight {
namespace {

class ChangedCellsOn : public TargetTest {};

struct Found {
  std::vector<uint32_t> positions;
  std::vector<std::byte> values;
};

Found find(int64_t cell, const std::vector<std::byte>& old, const std::vector<std::byte>& updated,
           uint64_t first) {
  const uint64_t count = old.size() / static_cast<uint64_t>(cell);
  Found found{std::vector<uint32_t>(count), std::vector<std::byte>(old.size())};
  const uint64_t there = find_changed_cells(cell, old.data(), updated.data(), count, first,
                                            found.positions.data(), found.values.data());
  found.positions.resize(there);
  found.values.resize(there * cell);
  return found;
}

// One by one.
Found look_for(int64_t cell, const std::vector<std::byte>& old, const std::vector<std::byte>& updated,
               uint64_t first) {
  Found found;
  for (size_t at = 0; at < old.size(); at += cell) {
    if (std::memcmp(&old[at], &updated[at], cell) == 0) continue;
    found.positions.push_back(static_cast<uint32_t>(first + at / cell));
    found.values.insert(found.values.end(), &updated[at], &updated[at] + cell);
  }
  return found;
}

TEST_P(ChangedCellsOn, AreThoseThatComparingOneByOneFinds) {
  std::mt19937_64 random(1);
  for (const int64_t cell : {1, 2, 4, 8}) {
    for (const double share : {0.0, 0.01, 0.03, 0.3, 0.5, 0.9, 1.0}) {
      const uint64_t left = random() % 2 ? random() % kCellsAtOnce : 0;
      std::vector<std::byte> old((kCellsAtOnce * 20 + left) * cell);
      for (std::byte& byte : old) byte = static_cast<std::byte>(random());
      std::vector<std::byte> updated = old;
      for (size_t at = 0; at < old.size(); at += cell) {
        if (std::bernoulli_distribution(share)(random)) updated[at + random() % cell] ^= std::byte{0x40};
      }
      const uint64_t first = random() % 1000;
      const Found fast = find(cell, old, updated, first), oracle = look_for(cell, old, updated, first);
      ASSERT_EQ(fast.positions, oracle.positions) << cell << " bytes, " << share;
      ASSERT_EQ(fast.values, oracle.values) << cell << " bytes, " << share;
    }
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(ChangedCellsOn, HWY_TARGETS);

}  // namespace
}  // namespace liveweight
