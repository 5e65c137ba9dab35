// Tests that run once on each instruction set that the machine has.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>
#include <vector>

namespace liveweight {

inline std::vector<int64_t> supported_targets() {
  std::vector<int64_t> all;
  const int64_t known = HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_SSE4 | HWY_SSSE3 | HWY_NEON;
  for (int64_t rest = hwy::SupportedTargets() & known; rest; rest &= rest - 1) all.push_back(rest & -rest);
  return all;
}

class TargetTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

#define LIVEWEIGHT_INSTANTIATE_TARGETS(Suite)                                      \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite);                            \
  INSTANTIATE_TEST_SUITE_P(Targets, Suite, testing::ValuesIn(supported_targets()), \
                           [](const auto& info) { return std::string(hwy::TargetName(info.param)); })

}  // namespace liveweight
