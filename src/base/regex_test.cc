#include "base/regex.h"

#include <gtest/gtest.h>

namespace liveweight {
namespace {

std::string replaced(const char* pattern, const char* text, const char* replacement) {
  return Regex::compile(pattern)->replace_all(text, replacement).value();
}

TEST(Regex, ReplacesEveryMatchAndItsGroups) {
  EXPECT_EQ(replaced("^model\\.(.*)$", "model.norm.weight", "\\1"), "norm.weight");
  EXPECT_EQ(replaced("a(.)", "abacad", "<$1>"), "<b><c><d>");
  EXPECT_EQ(replaced("(x)(y)?", "xzxy", "[\\g<2>\\1]"), "[x]z[yx]");
  EXPECT_EQ(replaced("q", "none", "r"), "none");
  EXPECT_EQ(replaced("", "ab", "-"), "-a-b-");
}

TEST(Regex, MatchesAtTheStartOnly) {
  const Regex regex = Regex::compile(".*lm_head").value();
  EXPECT_TRUE(regex.matches_at_start("model.lm_head.weight").value());
  EXPECT_FALSE(Regex::compile("lm_head")->matches_at_start("model.lm_head").value());
}

TEST(Regex, ABadPatternIsAnErrorThatShowsIt) {
  const auto regex = Regex::compile("(unclosed");
  ASSERT_FALSE(regex);
  EXPECT_NE(regex.error().message.find("(unclosed"), std::string::npos);
}

TEST(Regex, EndlessBacktrackingIsAnError) {
  const Regex regex = Regex::compile("(a|a)*b\\1").value();
  const std::string text(60, 'a');
  EXPECT_FALSE(regex.search(text + "b" + text + "c!").has_value() &&
               Regex::compile("^(a+)+$")->search(text + "!").has_value() &&
               Regex::compile("^(a|aa)+$")->search(text + "!").has_value());
}

}  // namespace
}  // namespace liveweight
