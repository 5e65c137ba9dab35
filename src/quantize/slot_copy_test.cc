// Which bytes a copy takes along: those of the elements or units that the region keeps, and no other. One
// slot has every bit the other way round, so that each byte tells where it is from.
#include "quantize/slot_copy.h"

#include <gtest/gtest.h>

#include <set>

#include "quantize/random_matrix.h"
#include "quantize/unit_layout.h"

namespace liveweight::testing {
namespace {

struct Slots {
  Slots(Random& random, KernelFormat slot_format) : format(std::move(slot_format)), from(format.bytes) {
    for (std::byte& byte : from) byte = static_cast<std::byte>(up_to(random, 255));
    for (const std::byte byte : from) to.push_back(~byte);
  }
  SlotRegion region() { return {&format, to.data(), 1, format.segments[1]}; }

  void expect_element(int64_t row, int64_t col) {
    const int64_t local = format.segments[1].row + row - format.segments[1].source_row;
    const int64_t bits = code_bits(format), first = (col - format.source_col) * bits / 8;
    expect(row_offset(format.data, 1, local) + static_cast<uint64_t>(first), std::max<int64_t>(1, bits / 8));
  }
  void expect_unit_of(int64_t row, int64_t col) {
    for (const Part* part : {&format.scale, &format.zero_point}) {
      if (part->bytes == 0) continue;
      const int64_t each = bits_of(part->dtype) / 8;
      expect(row_offset(*part, 1, scale_row_of(format, format.segments[1], row)) +
                 static_cast<uint64_t>(scale_col_of(format, col) * each),
             each);
    }
  }
  void expect(uint64_t offset, int64_t bytes) {
    for (int64_t i = 0; i < bytes; ++i) copied.insert(offset + static_cast<uint64_t>(i));
  }
  bool keeps(int64_t row, int64_t col) const {
    return keeps_row(format.segments[1], row) && col >= format.source_col &&
           col < format.source_col + format.cols;
  }
  void check(const std::string& what) const {
    for (uint64_t i = 0; i < format.bytes; ++i) {
      ASSERT_EQ(to[i], copied.contains(i) ? from[i] : ~from[i]) << what << ": byte " << i;
    }
  }

  // What was packed before the copy brings back what was there.
  void expect_back(const std::vector<std::byte>& packed, const std::byte* end,
                   const std::string& what) const {
    EXPECT_EQ(end, packed.data() + packed.size()) << what;
    for (uint64_t i = 0; i < format.bytes; ++i) ASSERT_EQ(to[i], ~from[i]) << what << ": byte " << i;
  }

  const KernelFormat format;
  std::vector<std::byte> from, to;
  std::set<uint64_t> copied;
};

// Rows of a tensor somewhere in a slot of three matrices; the tensor may be too large to be there.
KernelFormat draw_format(Random& random, const Scheme& scheme, DType dtype, int64_t most_cols) {
  const int64_t source_cols = 1 + up_to(random, most_cols - 1);
  const int64_t most_rows = (int64_t{1} << 32) / source_cols - 40;
  const int64_t source_row = up_to(random, chance(random, 2) ? most_rows : 200), rows = 1 + up_to(random, 30);
  const int64_t col = up_to(random, source_cols - 1);
  const int64_t cols = 1 + up_to(random, std::min<int64_t>(source_cols - col, 300) - 1);
  return make_kernel_format(scheme, dtype,
                            {3, cols, col, source_cols, {{0, 2, 5, 0}, {2, rows, source_row, 0}}});
}

TEST(SlotCopy, OfElementsTakesTheBytesOfThoseThatTheRegionKeepsAndBringsThemBack) {
  Random random(9);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      Slots slots(random, draw_format(random, parse_scheme(name).value(), dtype, 70'000));
      const KernelFormat& format = slots.format;
      const Segment& segment = format.segments[1];
      std::set<uint32_t> positions;
      for (int i = 0; i < 300; ++i) {
        const int64_t row = segment.source_row + up_to(random, segment.rows + 1) - 1;
        const int64_t near = format.source_col + up_to(random, format.cols + 3) - 2;
        const int64_t ends[] = {0, format.source_cols - 1, format.source_col,
                                format.source_col + format.cols - 1};
        const int64_t col =
            std::clamp<int64_t>(chance(random, 4) ? ends[up_to(random, 3)] : near, 0, format.source_cols - 1);
        if (row < 0) continue;
        positions.insert(static_cast<uint32_t>(row * format.source_cols + col));
        if (slots.keeps(row, col)) slots.expect_element(row, col);
      }
      const std::vector<uint32_t> list(positions.begin(), positions.end());
      const std::string what = name + " of " + std::string(to_string(dtype));
      std::vector<std::byte> packed;
      pack_elements(slots.region(), list, format.source_cols, packed);
      copy_elements(slots.region(), slots.from.data(), list, format.source_cols);
      slots.check(what);
      slots.expect_back(packed, unpack_elements(slots.region(), list, format.source_cols, packed.data()),
                        what);
    }
  }
}

TEST(SlotCopy, OfUnitsTakesTheirCodesScalesAndZeroPointsAndBringsThemBack) {
  Random random(10);
  for (const std::string& name : kSchemes) {
    for (const DType dtype : kDTypes) {
      for (int round = 0; round < 4; ++round) {
        Slots slots(random, draw_format(random, parse_scheme(name).value(), dtype, 400));
        const Segment& segment = slots.format.segments[1];
        const int64_t row = std::max<int64_t>(0, segment.source_row + up_to(random, 40) - 20);
        const int64_t rows = 1 + up_to(random, 30), col = up_to(random, slots.format.source_cols - 1);
        const int64_t cols = 1 + up_to(random, slots.format.source_cols - col - 1);
        for (int64_t r = row; r < row + rows; ++r) {
          for (int64_t c = col; c < col + cols; ++c) {
            if (!slots.keeps(r, c)) continue;
            slots.expect_element(r, c);
            slots.expect_unit_of(r, c);
          }
        }
        const std::string what = name + " of " + std::string(to_string(dtype));
        const SourceArea area{row, rows, col, cols};
        std::vector<std::byte> packed;
        pack_units(slots.region(), area, packed);
        copy_units(slots.region(), slots.from.data(), area);
        slots.check(what);
        slots.expect_back(packed, unpack_units(slots.region(), area, packed.data()), what);
      }
    }
  }
}

}  // namespace
}  // namespace liveweight::testing
