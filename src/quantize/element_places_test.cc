#include "quantize/element_places.h"

#include <gtest/gtest.h>

#include "quantize/random_matrix.h"

namespace liveweight::testing {
namespace {

constexpr int64_t kSourceCols = 300;

// Of two segments of a rank's columns, the second of which begins inside a block of the source.
KernelFormat format_of(const std::string& scheme) {
  return make_kernel_format(parse_scheme(scheme).value(), DType::kBF16,
                            {1, 140, 100, kSourceCols, {{0, 7, 3, 0}, {7, 40, 110, 0}}});
}

ElementPlaces second_segments_places(const KernelFormat& format) {
  return ElementPlaces({&format, nullptr, 0, format.segments[1]}, kSourceCols);
}

uint32_t position_of(int64_t row, int64_t col) {
  return static_cast<uint32_t>(row * kSourceCols + col);
}

TEST(ElementPlaces, ScalesOfALaterSegmentFollowThoseOfTheSegmentsBeforeIt) {
  const KernelFormat rows = format_of("int8_per_channel");
  EXPECT_EQ(second_segments_places(rows)(position_of(112, 101)).scale, rows.scale.offset + (7 + 2) * 4);
  const KernelFormat blocks = format_of("fp8_per_block");
  EXPECT_EQ(second_segments_places(blocks)(position_of(112, 101)).scale, blocks.scale.offset + 2 * 4);
  EXPECT_EQ(second_segments_places(blocks)(position_of(149, 230)).scale, blocks.scale.offset + (4 + 1) * 4);
}

TEST(ElementPlaces, AnElementThatIsNotKeptHasThePlaceOfTheNearestOneThatIs) {
  for (const std::string& scheme : kSchemes) {
    const KernelFormat format = format_of(scheme);
    const ElementPlaces places = second_segments_places(format);
    const auto expect_nearest = [&](int64_t row, int64_t col, int64_t kept_row, int64_t kept_col) {
      const ElementPlaces::Place got = places(position_of(row, col));
      const ElementPlaces::Place nearest = places(position_of(kept_row, kept_col));
      EXPECT_FALSE(got.keeps) << scheme;
      EXPECT_TRUE(nearest.keeps) << scheme;
      EXPECT_EQ(got.code, nearest.code) << scheme;
      EXPECT_EQ(got.scale, nearest.scale) << scheme;
    };
    expect_nearest(0, 120, 110, 120);
    expect_nearest(109, 99, 110, 100);
    expect_nearest(150, 120, 149, 120);
    expect_nearest(400, 299, 149, 239);
  }
}

}  // namespace
}  // namespace liveweight::testing
