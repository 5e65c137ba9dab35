#include "infer/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace liveweight {
namespace {

TEST(RopeTest, frequencies_fall_from_one_by_powers_of_theta) {
  const std::vector<float> frequencies = rope_frequencies({}, 8);
  ASSERT_EQ(frequencies.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(frequencies[i], std::pow(10000.0f, -2.0f * i / 8));
}

TEST(RopeTest, linear_scaling_divides_every_frequency) {
  RopeParameters parameters;
  parameters.type = RopeParameters::Type::kLinear;
  parameters.factor = 4;
  EXPECT_FLOAT_EQ(rope_frequencies(parameters, 8)[1], rope_frequencies({}, 8)[1] / 4);
}

TEST(RopeTest, llama3_keeps_short_wavelengths_and_stretches_long_ones) {
  RopeParameters parameters;
  parameters.type = RopeParameters::Type::kLlama3;
  parameters.theta = 500000;
  parameters.factor = 8;
  parameters.original_max_position = 8192;
  RopeParameters plain;
  plain.theta = parameters.theta;
  const std::vector<float> scaled = rope_frequencies(parameters, 128);
  const std::vector<float> unscaled = rope_frequencies(plain, 128);
  EXPECT_EQ(scaled.front(), unscaled.front());
  EXPECT_FLOAT_EQ(scaled.back(), unscaled.back() / 8);
  // Between them: from the formula, with the wavelength of pair 30.
  const double wavelength = 2 * M_PI / unscaled[30];
  ASSERT_GT(wavelength, 8192 / 4.0);
  ASSERT_LT(wavelength, 8192);
  const double smooth = (8192 / wavelength - 1) / 3;
  EXPECT_NEAR(scaled[30], (1 - smooth) * unscaled[30] / 8 + smooth * unscaled[30], 1e-6 * unscaled[30]);
}

TEST(RopeTest, rotates_pairs_and_leaves_what_partial_rotation_leaves_out) {
  RopeParameters parameters;
  parameters.partial_rotary_factor = 0.5;
  const RopeTable rope(parameters, 8, 4);
  std::vector<float> head = {1, 2, 3, 4, 5, 6, 7, 8};
  rope.rotate(head.data(), 3);
  EXPECT_NEAR(head[0], std::cos(3.0) * 1 - std::sin(3.0) * 3, 1e-6);
  EXPECT_NEAR(head[2], std::cos(3.0) * 3 + std::sin(3.0) * 1, 1e-6);
  EXPECT_NEAR(head[1], std::cos(0.03) * 2 - std::sin(0.03) * 4, 1e-6);
  for (int i = 4; i < 8; ++i) EXPECT_EQ(head[i], static_cast<float>(i + 1));
}

}  // namespace
}  // namespace liveweight
