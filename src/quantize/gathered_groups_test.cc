#include "quantize/gathered_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "quantize/profile.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr int64_t kRows = 5, kGroupsPerRow = 40, kFirstKeptRow = 1, kKeptRows = 3;

std::vector<std::byte> random_elements(std::mt19937_64& random, DType dtype, int64_t count) {
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<std::byte> bytes(static_cast<size_t>(count * bits_of(dtype) / 8));
  for (int64_t i = 0; i < count; ++i) store_high_precision(dtype, bytes.data(), i, normal(random));
  return bytes;
}

// A format that keeps the rows but one on either side, and the columns from `first_group` on.
KernelFormat cut_format(const Scheme& scheme, DType dtype, int64_t first_group) {
  const int64_t cols = kGroupsPerRow * scheme.size, begin = first_group * scheme.size;
  return make_kernel_format(scheme, dtype,
                            {1, cols - begin, begin, cols, {{0, kKeptRows, kFirstKeptRow, 0}}});
}

class GatheredGroupsTest : public ::testing::TestWithParam<DType> {};

TEST_P(GatheredGroupsTest, HaveTheBytesOfTheWholeTensorInAnyOrder) {
  std::mt19937_64 random(7);
  const DType dtype = GetParam();
  Scheme scheme = parse_scheme("int4_per_group").value();
  for (const Profile profile : profiles_of(scheme.element, scheme.granularity)) {
    scheme.profile = profile;
    for (const int64_t first_group : {0, 1}) {
      const KernelFormat format = cut_format(scheme, dtype, first_group);
      const int64_t cols = format.source_cols, each = bits_of(dtype) / 8;
      const auto elements = random_elements(random, dtype, kRows * cols);
      std::vector<std::byte> whole(format.bytes), gathered(format.bytes);
      const SlotRegion region{&format, whole.data(), 0, format.segments.front()};
      ASSERT_FALSE(quantize_box({dtype, elements.data(), cols, 0, kRows, 0, cols}, region, {}));
      std::vector<int64_t> order(kRows * kGroupsPerRow);
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
      std::shuffle(order.begin(), order.end(), random);
      GatheredGroups groups({&format, gathered.data(), 0, format.segments.front()}, dtype);
      for (const int64_t i : order) {
        const int64_t row = i / kGroupsPerRow, col = i % kGroupsPerRow * scheme.size;
        const bool kept = row >= kFirstKeptRow && row < kFirstKeptRow + kKeptRows && col >= format.source_col;
        ASSERT_EQ(groups.takes(row, col), kept);
        if (!kept) continue;
        std::copy_n(elements.data() + (row * cols + col) * each, scheme.size * each, groups.add(row, col));
      }
      ASSERT_FALSE(groups.finish());
      EXPECT_EQ(whole, gathered) << to_string(scheme);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(dtypes, GatheredGroupsTest,
                         ::testing::Values(DType::kBF16, DType::kF16, DType::kF32),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST(GatheredGroups, SayWhereInTheTensorAnElementIsNotFinite) {
  const Scheme scheme = parse_scheme("int4_per_group").value();
  const KernelFormat format = cut_format(scheme, DType::kF32, 0);
  std::vector<std::byte> slot(format.bytes);
  GatheredGroups groups({&format, slot.data(), 0, format.segments.front()}, DType::kF32);
  for (const int64_t group : {3, 8}) {
    std::byte* elements = groups.add(2, group * scheme.size);
    for (int64_t i = 0; i < scheme.size; ++i) store_high_precision(DType::kF32, elements, i, 1);
    if (group == 8) store_high_precision(DType::kF32, elements, 5, INFINITY);
  }
  const auto fault = groups.finish();
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->row, 2);
  EXPECT_EQ(fault->col, 8 * scheme.size + 5);
}

TEST(GatheredGroups, LeaveGroupsThatAreKeptInPartOrCutByTheEdgeToOthers) {
  const Scheme scheme = parse_scheme("int4_per_group").value();
  const int64_t size = scheme.size, cols = 2 * size + size / 2, begin = size / 2;
  const KernelFormat format =
      make_kernel_format(scheme, DType::kBF16, {1, cols - begin, begin, cols, {{0, 1, 0, 0}}});
  std::vector<std::byte> slot(format.bytes);
  const GatheredGroups groups({&format, slot.data(), 0, format.segments.front()}, DType::kBF16);
  EXPECT_FALSE(groups.takes(0, 0));
  EXPECT_TRUE(groups.takes(0, size));
  EXPECT_FALSE(groups.takes(0, 2 * size));
}

TEST(GatheredGroups, LeaveGroupsThatShareAByteToOthers) {
  for (const auto& [name, begin] : {std::pair("int4_per_group:7", 0), std::pair("int4_per_group:32", 3)}) {
    const Scheme scheme = parse_scheme(name).value();
    const int64_t cols = 8 * scheme.size;
    const KernelFormat format =
        make_kernel_format(scheme, DType::kBF16, {1, cols - begin, begin, cols, {{0, 1, 0, 0}}});
    std::vector<std::byte> slot(format.bytes);
    const GatheredGroups groups({&format, slot.data(), 0, format.segments.front()}, DType::kBF16);
    EXPECT_FALSE(groups.takes(0, 2 * scheme.size)) << name;
  }
}

}  // namespace
}  // namespace liveweight
