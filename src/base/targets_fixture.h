// Tests that run once on each instruction set that the machine has.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>
#include <vector>

namespace liveweight {

// Of those that there is code for.
inline std::vector<int64_t> supported_targets(int64_t known) {
  std::vector<int64_t> all;
  for (int64_t rest = hwy::SupportedTargets() & known; rest; rest &= rest - 1) all.push_back(rest & -rest);
  return all;
}

class TargetTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

inline std::string target_name(const ::testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

#define LIVEWEIGHT_INSTANTIATE_TARGETS(Suite, known)    \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite); \
  INSTANTIATE_TEST_SUITE_P(Targets, Suite, ::testing::ValuesIn(supported_targets(known)), target_name)

}  // namespace liveweight
