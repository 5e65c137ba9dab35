#include "checkpoint/part_sums.h"

#include <gtest/gtest.h>

#include <random>

namespace liveweight {
namespace {

std::vector<std::byte> random_bytes(std::mt19937& random, size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::vector<uint64_t> sums_of(std::span<const std::byte> tensor, uint64_t first) {
  std::vector<uint64_t> sums(first);
  for (uint64_t part = 0; part < part_count(tensor.size()); ++part) {
    sums.push_back(sum_of_part(tensor, first, part));
  }
  return sums;
}

TEST(PartSums, FollowAChangeAsIfTheyWereMadeAnew) {
  std::mt19937 random(1);
  for (const DType dtype : {DType::kU8, DType::kBF16, DType::kF32, DType::kF64}) {
    const auto cell = static_cast<size_t>(cell_bytes(dtype));
    for (const size_t cells : {size_t{3}, size_t{40'001}, 3 * kPartBytes / cell}) {
      const std::vector<std::byte> old = random_bytes(random, cells * cell);
      std::vector<std::byte> updated = old;
      for (int i = 0; i < 50; ++i) updated[random() % updated.size()] ^= std::byte{1};
      const auto shape = Shape{static_cast<int64_t>(cells)};
      const TensorDelta delta = compare_tensors("a", {dtype, shape, old.data(), old.size()},
                                                {dtype, shape, updated.data(), updated.size()})
                                    .value();
      constexpr uint64_t kFirst = 2;
      const std::vector<uint64_t> before = sums_of(old, kFirst), after = sums_of(updated, kFirst);
      std::vector<uint64_t> sums = before, touched;
      add_change(old, kFirst, delta, sums, touched);
      EXPECT_EQ(sums, after);
      std::vector<uint64_t> differ;
      for (uint64_t part = 0; part < sums.size(); ++part) {
        if (before[part] != after[part]) differ.push_back(part);
      }
      EXPECT_EQ(touched, differ);
    }
  }
}

TEST(PartSums, TellPlacesAndTensorsApart) {
  std::vector<std::byte> tensor(32);
  tensor[0] = std::byte{1};
  std::vector<std::byte> moved(32);
  moved[8] = std::byte{1};
  EXPECT_NE(sum_of_part(tensor, 0, 0), sum_of_part(moved, 0, 0));
  EXPECT_NE(sum_of_part(tensor, 0, 0), sum_of_part(tensor, 1, 0));
}

TEST(PartSums, CountEveryByteOfAShortEnd) {
  std::vector<std::byte> tensor(21);
  const uint64_t zeros = sum_of_part(tensor, 0, 0);
  tensor.back() = std::byte{1};
  EXPECT_NE(sum_of_part(tensor, 0, 0), zeros);
}

}  // namespace
}  // namespace liveweight
