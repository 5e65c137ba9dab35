// Changed elements one by one, and again whole the units that are doubtful: together what the changed matrix
// gives, to the bit.
#include "quantize/patch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <set>

#include "quantize/element_batch.h"
#include "quantize/random_matrix.h"

namespace liveweight::testing {
namespace {

// One element as a delta may change it; its row's largest is what decides scales.
void change(Random& random, Matrix& matrix, int64_t last) {
  const int64_t row = up_to(random, matrix.rows - 1) * matrix.cols;
  const auto smaller = [&](int64_t a, int64_t b) {
    return std::fabs(element(matrix, a)) < std::fabs(element(matrix, b));
  };
  int64_t largest = row;
  for (int64_t i = row; i < row + matrix.cols; ++i) largest = smaller(largest, i) ? i : largest;
  const int64_t any = row + up_to(random, matrix.cols - 1);
  const float top = element(matrix, largest);
  const auto set = [&](int64_t position, float value) {
    if (position > last || !std::isfinite(round_to(matrix.dtype, value))) return;
    store_high_precision(matrix.dtype, matrix.data.data(), position, value);
  };
  switch (up_to(random, 7)) {
    case 0:
      return set(largest, -top);
    case 1:
      return set(largest, top * 0.25f);
    case 2:
      return set(any, top * 1.5f);
    case 3:
      return set(any, top * 0.995f);
    case 4:
      set(largest, 0);
      return set(any, top);
    case 5:
      for (int64_t i = row; i < row + matrix.cols; ++i) set(i, chance(random, 2) ? 0.0f : -0.0f);
      return;
    case 6:
      return set(any, chance(random, 2) ? 1e-5f : 0.0f);
    default:
      for (int i = 0; i < 20; ++i) set(row + up_to(random, matrix.cols - 1), top * 0.1f);
  }
}

struct Changes {
  std::vector<uint32_t> positions;
  std::vector<std::byte> values;
};

Changes changes_of(const Matrix& old, const Matrix& updated, int64_t begin_row, int64_t end_row) {
  Changes changes;
  const auto each = static_cast<size_t>(bits_of(old.dtype) / 8);
  for (auto i = static_cast<size_t>(begin_row * old.cols); i < static_cast<size_t>(end_row * old.cols); ++i) {
    const auto value = updated.data.begin() + static_cast<ptrdiff_t>(i * each);
    if (std::equal(value, value + static_cast<ptrdiff_t>(each), old.data.data() + i * each)) continue;
    changes.positions.push_back(static_cast<uint32_t>(i));
    changes.values.insert(changes.values.end(), value, value + static_cast<ptrdiff_t>(each));
  }
  return changes;
}

// The middle one of three matrices, above rows of another tensor.
struct Slot {
  Slot(const Scheme& scheme, DType dtype, const CutShape& cut) {
    const Segment& segment = cut.segments[0];
    format = make_kernel_format(
        scheme, dtype,
        {3, cut.cols, cut.source_col, cut.source_cols, {segment, Segment{segment.rows, 3, 0, 0}}});
    bytes.assign(format.bytes, std::byte{0xaa});
  }
  SlotRegion region() { return {&format, bytes.data(), 1, format.segments[0]}; }

  KernelFormat format;
  std::vector<std::byte> bytes;
};

// Rows that share a unit with those of the segment; of a tensor-wide unit that is all of them.
std::pair<int64_t, int64_t> rows_of_units(const Slot& slot, const Matrix& matrix) {
  const Segment& segment = slot.format.segments[0];
  if (slot.format.scheme.granularity == Granularity::kTensor) return {0, matrix.rows};
  const int64_t tile = tile_of(slot.format.scheme, matrix).rows;
  const int64_t end = (segment.source_row + segment.rows + tile - 1) / tile * tile;
  return {segment.source_row / tile * tile, std::min(end, matrix.rows)};
}

std::vector<uint32_t> patch(Slot& slot, const Matrix& old, const Matrix& updated, bool has_old) {
  std::vector<ElementPatch> patches;
  std::list<Changes> came;
  const auto run = [&](const SlotRegion& region, int64_t begin, int64_t end) {
    came.push_back(changes_of(old, updated, begin, end));
    patches.push_back(
        {region,
         old.dtype,
         {came.back().positions, came.back().values.data(), old.cols, has_old ? old.data.data() : nullptr},
         {}});
  };
  const SlotRegion region = slot.region(), nowhere{region.format, region.slot, region.matrix, Segment{}};
  const auto [begin, end] = rows_of_units(slot, old);
  const int64_t kept = std::max(begin, region.segment.source_row);
  if (slot.format.scheme.granularity != Granularity::kTensor) {
    run(region, begin, end);
  } else {
    run(nowhere, begin, kept);
    run(region, kept, kept + region.segment.rows);
    run(nowhere, kept + region.segment.rows, end);
  }
  patch_elements(patches);
  std::vector<uint32_t> doubtful;
  for (const ElementPatch& patch : patches) {
    doubtful.insert(doubtful.end(), patch.doubtful.begin(), patch.doubtful.end());
  }
  return doubtful;
}

bool quantize_units(Slot& slot, const Matrix& matrix, const std::vector<uint32_t>& doubtful) {
  const TensorUnit unit = tensor_unit_of(matrix);
  const bool whole = slot.format.scheme.granularity == Granularity::kTensor && !doubtful.empty();
  if (whole) return !quantize_box(box_of(matrix), slot.region(), unit);
  const Tile tile = tile_of(slot.format.scheme, matrix);
  std::set<std::pair<int64_t, int64_t>> units;
  for (const uint32_t position : doubtful) {
    units.emplace(position / matrix.cols / tile.rows * tile.rows,
                  position % matrix.cols / tile.cols * tile.cols);
  }
  for (const auto& [row, col] : units) {
    const SourceBox box = box_of(matrix, row, std::min(tile.rows, matrix.rows - row), col,
                                 std::min(tile.cols, matrix.cols - col));
    if (quantize_box(box, slot.region(), unit)) return false;
  }
  return true;
}

TEST(PatchElements, WithDoubtfulUnitsQuantizedWholeGivesTheChangedMatrix) {
  Random random(8);
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    for (const DType dtype : kDTypes) {
      for (int round = 0; round < 6; ++round) {
        const Matrix old = draw_matrix(random, dtype, false);
        const CutShape cut = draw_cut(random, old);
        Slot patched(scheme, dtype, cut), expected(scheme, dtype, cut);
        if (quantize_box(box_of(old), patched.region(), tensor_unit_of(old))) continue;
        // What the edges' rule counts stays, as it concerns more than its own unit.
        const bool edges = scheme.quantizes() && rule_for(scheme, dtype).fill_edges;
        Matrix updated = old;
        for (int64_t i = up_to(random, 30); i >= 0; --i) {
          change(random, updated, old.rows * old.cols - 1 - (edges ? 1 : 0));
        }
        if (quantize_box(box_of(updated), expected.region(), tensor_unit_of(updated))) continue;
        const auto doubtful = patch(patched, old, updated, chance(random, 2));
        ASSERT_TRUE(quantize_units(patched, updated, doubtful));
        ASSERT_EQ(patched.bytes, expected.bytes) << name << " of " << to_string(dtype) << ", round " << round;
      }
    }
  }
}

// Of one row that all schemes take as one unit or more, whose first element of each group is the largest.
Matrix row_with_peaks(DType dtype) {
  Matrix matrix = zeros(dtype, 1, 256);
  for (int64_t i = 0; i < matrix.cols; ++i) {
    store_high_precision(dtype, matrix.data.data(), i, i % 8 == 0 ? 4.0f : 0.25f);
  }
  return matrix;
}

void expect_no_doubt(const Matrix& old, const Matrix& updated) {
  for (const std::string& name : kSchemes) {
    const Scheme scheme = parse_scheme(name).value();
    if (scheme.quantizes() && !ElementRule(scheme, old.dtype).from_scale) continue;
    Slot slot(scheme, old.dtype, {1, old.cols, 0, old.cols, {{0, 1, 0, 0}}});
    ASSERT_FALSE(quantize_box(box_of(old), slot.region(), tensor_unit_of(old)));
    EXPECT_TRUE(patch(slot, old, updated, true).empty()) << name << " of " << to_string(old.dtype);
  }
}

TEST(PatchElements, DoesNotDoubtUnitsWhoseSmallElementsChange) {
  for (const DType dtype : kDTypes) {
    const Matrix old = row_with_peaks(dtype);
    Matrix updated = old;
    for (const int64_t i : {1, 2, 77, 255}) store_high_precision(dtype, updated.data.data(), i, -0.5f);
    expect_no_doubt(old, updated);
  }
}

TEST(PatchElements, DoesNotDoubtUnitsWhoseLargestElementChangesItsSign) {
  for (const DType dtype : kDTypes) {
    const Matrix old = row_with_peaks(dtype);
    Matrix updated = old;
    for (const int64_t i : {0, 128}) store_high_precision(dtype, updated.data.data(), i, -4.0f);
    expect_no_doubt(old, updated);
  }
}

// 7.5 times bf16's epsilon, which is the scale of zeros, too.
TEST(PatchElements, DoubtsAUnitWhoseScaleZerosHaveTooOnlyWhereACodeIsZero) {
  const Scheme scheme = parse_scheme("int4_per_group:32").value();
  Matrix old = zeros(DType::kBF16, 1, 64), updated = old;
  const auto set = [&](int64_t i, float before, float after) {
    store_high_precision(DType::kBF16, old.data.data(), i, before);
    store_high_precision(DType::kBF16, updated.data.data(), i, after);
  };
  set(0, 0.05859375f, 0.05859375f);
  set(1, 0.03f, -0.02f);
  Slot slot(scheme, DType::kBF16, {1, 64, 0, 64, {{0, 1, 0, 0}}});
  ASSERT_FALSE(quantize_box(box_of(old), slot.region(), tensor_unit_of(old)));
  EXPECT_TRUE(patch(slot, old, updated, true).empty());
  set(2, 0, 0.03f);
  set(33, 0, 0.03f);
  EXPECT_EQ(patch(slot, old, updated, true), (std::vector<uint32_t>{2, 33}));
}

TEST(PatchElements, DoesNotDoubtUnitsThatARankHoldsNothingOf) {
  for (const char* name : {"int4_per_group:32@torchao-intx", "fp8_per_block@vllm"}) {
    const Scheme scheme = parse_scheme(name).value();
    const Matrix old = row_with_peaks(DType::kBF16);
    Matrix updated = old;
    const bool group = scheme.granularity == Granularity::kGroup;
    for (int64_t i = 0; i < 256; ++i) {
      if (i < 128 || (group && i >= 160)) store_high_precision(DType::kBF16, updated.data.data(), i, 9.0f);
    }
    Slot slot(scheme, DType::kBF16, {1, 32, 128, old.cols, {{0, 1, 0, 0}}});
    ASSERT_FALSE(quantize_box(box_of(old), slot.region(), tensor_unit_of(old)));
    EXPECT_TRUE(patch(slot, old, updated, true).empty()) << name;
  }
}

}  // namespace
}  // namespace liveweight::testing
