#include "quantize/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tensor/codec.h"

namespace liveweight {
namespace {

// Up to the largest finite number of the dtype, and often near it.
float draw(std::mt19937_64& random, DType dtype) {
  const int highest = dtype == DType::kF16 ? 15 : 127;
  const int exponent = random() % 2 ? highest : static_cast<int>(random() % (2 * highest)) - highest;
  const float mantissa = random() % 4 ? std::uniform_real_distribution<float>(1, 2)(random) : 1.99999f;
  const float x = round_to(dtype, std::ldexp(random() % 2 ? mantissa : -mantissa, exponent));
  return std::isfinite(x) ? x : 0;
}

// So that a finite scale is all that needs to be asked for.
TEST(UnitScale, HasAFiniteZeroPointWhereItsScaleIsFinite) {
  std::mt19937_64 random(5);
  Scheme scheme = parse_scheme("int4_per_group").value();
  for (const Profile profile : profiles_of(scheme.element, scheme.granularity)) {
    scheme.profile = profile;
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const ProfileRule rule = rule_for(scheme, dtype);
      for (int round = 0; round < 20'000; ++round) {
        const float first = draw(random, dtype), second = random() % 8 ? draw(random, dtype) : first;
        const Extremes extremes{std::max(std::fabs(first), std::fabs(second)), std::min(first, second),
                                std::max(first, second)};
        const UnitScale unit = make_unit_scale(rule, dtype, extremes);
        if (!std::isfinite(unit.scale)) continue;
        ASSERT_TRUE(std::isfinite(unit.zero)) << to_string(scheme) << " of " << to_string(dtype) << ": "
                                              << extremes.min << " to " << extremes.max;
      }
    }
  }
}

}  // namespace
}  // namespace liveweight
