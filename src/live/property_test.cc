#include "live/property.h"

#include <gmock/gmock.h>

namespace liveweight::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Property, ThatHoldsIsNotAFailure) {
  const Property property([](Random& random, uint64_t) { EXPECT_LE(between(random, 0, 9), 9); });
  EXPECT_EQ(property.try_seed(1).message, "");
}

TEST(Property, ThatFailsIsShrunkToTheSmallestDrawsThatFail) {
  const Property property([](Random& random, uint64_t) {
    const int64_t unimportant = between(random, 3, 1000);
    std::vector<int64_t> sizes;
    for (int64_t left = between(random, 2, 30); left > 0; --left) sizes.push_back(between(random, 1, 500));
    EXPECT_LT(*std::max_element(sizes.begin(), sizes.end()), 17) << unimportant;
  });
  const Property::Failure failure = property.try_seed(2);
  EXPECT_THAT(failure.message, HasSubstr("17"));
  ASSERT_EQ(failure.drawn.size(), 4u);
  EXPECT_EQ(failure.drawn[0], 3);
  EXPECT_EQ(failure.drawn[1], 2);
  EXPECT_EQ(failure.drawn[2] + failure.drawn[3], 18) << "one of 17, one of 1";
}

TEST(Property, StopsAtAFatalFailureAndKnowsOfIt) {
  bool went_on = false, knew = false;
  const Property property([&](Random&, uint64_t) {
    const auto fatal = [] { FAIL() << "here"; };
    fatal();
    knew = has_failed();
    if (has_failed()) return;
    went_on = true;
  });
  EXPECT_THAT(property.try_seed(1).message, HasSubstr("here"));
  EXPECT_TRUE(knew);
  EXPECT_FALSE(went_on);
  EXPECT_FALSE(has_failed()) << "outside of the property nothing failed";
}

}  // namespace
}  // namespace liveweight::testing
