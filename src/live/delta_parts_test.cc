// The parts of a delta's way into a model, each alone.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>

#include "live/delta_checks.h"
#include "live/delta_split.h"
#include "live/piece.h"
#include "live/slot_lag.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

std::vector<uint32_t> every_element(int64_t count) {
  std::vector<uint32_t> positions(static_cast<size_t>(count));
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<uint32_t>(i);
  return positions;
}

Source one_source() {
  Source source;
  source.name = std::string("w");
  source.dtype = DType::kF32;
  source.shape = {2, 4};
  source.rows = 2;
  source.cols = 4;
  return source;
}

std::vector<DeltaRows> parts_of(std::span<const uint32_t> positions, int64_t rows, int64_t cols,
                                int64_t tile_rows) {
  std::vector<DeltaRows> parts;
  split_rows(positions, rows, cols, tile_rows, [&](const DeltaRows& part) { parts.push_back(part); });
  return parts;
}

TEST(DeltaParts, OfOneChangeAreTheWholeTileOfItsRow) {
  const std::vector<uint32_t> positions = {5 * 16 + 3};
  const auto parts = parts_of(positions, 24, 16, 4);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].row, 4);
  EXPECT_EQ(parts[0].rows, 4);
}

TEST(DeltaParts, OfManyChangesBeginAndEndBetweenTiles) {
  constexpr int64_t kRows = 5000, kCols = 16, kTile = 128;
  const auto positions = every_element(kRows * kCols);
  const auto parts = parts_of(positions, kRows, kCols, kTile);
  ASSERT_GT(parts.size(), 3u);
  int64_t row = 0;
  for (const DeltaRows& part : parts) {
    EXPECT_EQ(part.row, row);
    EXPECT_EQ(part.row % kTile, 0);
    EXPECT_EQ(part.begin, static_cast<size_t>(row * kCols));
    row += part.rows;
    EXPECT_EQ(part.end, static_cast<size_t>(row * kCols));
  }
  EXPECT_EQ(row, kRows);
}

TEST(DeltaParts, KeepTheirValuesWhereElementsMayBeRead) {
  const auto memory = std::make_shared<std::array<std::byte, 64>>();
  for (size_t i = 0; i < memory->size(); ++i) (*memory)[i] = static_cast<std::byte>(i);
  const std::vector<uint32_t> positions = {1, 6};
  for (const size_t offset : {1, 2, 3}) {
    const std::span<const std::byte> values(memory->data() + offset, 8);
    const SourceChanges kept = owned({"w", DType::kF32, {2, 4}, positions, values, memory}, one_source());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(kept.values.data()) % sizeof(float), 0u);
    EXPECT_TRUE(std::equal(kept.values.begin(), kept.values.end(), values.begin(), values.end()));
    EXPECT_TRUE(std::equal(kept.positions.begin(), kept.positions.end(), positions.begin()));
  }
}

TEST(DeltaParts, WithoutAnOwnerAreCopied) {
  const std::vector<uint32_t> positions = {1, 6};
  const std::vector<float> values = {1, 2};
  const SourceChanges kept =
      owned({"w", DType::kF32, {2, 4}, positions, std::as_bytes(std::span(values)), nullptr}, one_source());
  EXPECT_TRUE(kept.owner);
  EXPECT_NE(kept.positions.data(), positions.data());
  EXPECT_NE(kept.values.data(), std::as_bytes(std::span(values)).data());
}

TEST(DeltaParts, TakeTheNameOfTheTensorInTheModel) {
  const Source source = one_source();
  EXPECT_EQ(owned({"another", DType::kF32, {2, 4}, {}, {}, nullptr}, source).delta_of(source).name, "w");
}

TEST(DeltaParts, AreRefusedForTheFirstValueThatIsNotFiniteOfEveryDtype) {
  Source source = one_source();
  const std::vector<uint32_t> positions = every_element(8);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    source.dtype = dtype;
    const float largest = dtype == DType::kF16 ? 65504.0f : 0x1.fep127f;
    for (const float wrong : {INFINITY, -INFINITY, NAN}) {
      alignas(float) std::array<std::byte, 8 * sizeof(float)> values{};
      const SourceChanges changes{
          positions, std::span(values).first(8 * static_cast<size_t>(element_bytes(source))), nullptr};
      for (int64_t i = 0; i < 8; ++i) {
        store_high_precision(dtype, values.data(), i, i % 2 == 0 ? largest : -largest);
      }
      EXPECT_TRUE(check_changes(source, changes));
      for (const int64_t i : {7, 5}) store_high_precision(dtype, values.data(), i, wrong);
      const Status status = check_changes(source, changes);
      ASSERT_FALSE(status) << to_string(dtype) << ' ' << wrong;
      EXPECT_EQ(status.error().code, ErrorCode::kNonFinite);
      EXPECT_NE(status.error().message.find("[1, 1]"), std::string::npos) << status.error().message;
    }
  }
}

TEST(SlotLag, IsNoneOnlyWhereNothingMayDiffer) {
  SlotLag lag;
  EXPECT_FALSE(lag.none());
  lag.clear();
  EXPECT_TRUE(lag.none());
  lag.units.push_back({});
  EXPECT_FALSE(lag.none());
  lag.clear();
  lag.changes.push_back({});
  EXPECT_FALSE(lag.none());
  lag.forget();
  EXPECT_FALSE(lag.none());
}

}  // namespace
}  // namespace liveweight
