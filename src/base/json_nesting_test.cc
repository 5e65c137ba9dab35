#include "base/json_nesting.h"

#include <gtest/gtest.h>

#include <string>

namespace liveweight {
namespace {

TEST(JsonNesting, IsCountedOutsideOfStrings) {
  const std::string deep(33, '[');
  EXPECT_FALSE(nests_too_deep(""));
  EXPECT_FALSE(nests_too_deep(std::string(32, '[')));
  EXPECT_TRUE(nests_too_deep(deep));
  EXPECT_FALSE(nests_too_deep("\"" + deep + "\""));
  EXPECT_FALSE(nests_too_deep(R"(["\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["])"));
  EXPECT_TRUE(nests_too_deep("\"]]]]]]]]]]]]]]]]\"" + deep)) << "brackets in a string close nothing";
}

}  // namespace
}  // namespace liveweight
