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
      const ElementPlace got = places(position_of(row, col));
      const ElementPlace nearest = places(position_of(kept_row, kept_col));
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

class ElementPlacesOn : public TargetTest {};

// Codes and scales that lie beyond 4 GiB as well.
ElementPlaces far_places(ElementPlaces places) {
  places.codes += uint64_t{5} << 32;
  places.scales += uint64_t{7} << 32;
  places.code_row_bytes += uint64_t{3} << 32;
  return places;
}

TEST_P(ElementPlacesOn, ABatchHasThePlaceOfEachOfItsElementsAndBehindThemThatOfTheLast) {
  Random random(5);
  for (const std::string& scheme : kSchemes) {
    const KernelFormat format = format_of(scheme);
    for (int round = 0; round < 60; ++round) {
      const auto segment = static_cast<size_t>(up_to(random, 2));
      const Segment chosen = segment < 2 ? format.segments[segment] : Segment{};
      const ElementPlaces near({&format, nullptr, 0, chosen}, kSourceCols);
      const ElementPlaces places = chance(random, 2) ? near : far_places(near);
      const int64_t count = up_to(random, kElementBatch - 1) + 1;
      std::vector<uint32_t> positions(static_cast<size_t>(count));
      for (uint32_t& position : positions) {
        position = chance(random, 8) ? ~uint32_t{0} - static_cast<uint32_t>(up_to(random, 9))
                                     : static_cast<uint32_t>(up_to(random, 200 * kSourceCols));
      }
      ElementPlaceBatch fast, oracle;
      locate_elements(places, positions.data(), count, fast);
      locate_elements_reference(places, positions.data(), count, oracle);
      ASSERT_EQ(fast.keeps, oracle.keeps) << scheme;
      ASSERT_EQ(fast.counts, oracle.counts) << scheme;
      for (int64_t i = 0; i < kElementBatch; ++i) {
        const uint32_t position = positions[static_cast<size_t>(std::min(i, count - 1))];
        ASSERT_EQ(fast.code[i], oracle.code[i]) << scheme << ' ' << position;
        ASSERT_EQ(fast.scale[i], oracle.scale[i]) << scheme << ' ' << position;
        ASSERT_EQ(fast.mask[i], oracle.mask[i]) << scheme << ' ' << position;
      }
      const ElementPlace last = places(positions.back());
      ASSERT_EQ(oracle.code[kElementBatch - 1], last.code) << scheme;
      ASSERT_EQ(oracle.scale[kElementBatch - 1], last.scale) << scheme;
    }
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(ElementPlacesOn, testing::kTargets);

}  // namespace
}  // namespace liveweight::testing
