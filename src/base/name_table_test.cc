#include "base/name_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

namespace liveweight {
namespace {

class NameTableTest : public testing::Test {
 protected:
  std::optional<uint32_t> add(const std::string& name) {
    names_.push_back(name);
    return table_.add(names_.back(), static_cast<uint32_t>(names_.size() - 1), name_of_);
  }
  std::optional<uint32_t> find(std::string_view name) const { return table_.find(name, name_of_); }

  std::vector<std::string> names_;
  const std::function<std::string_view(uint32_t)> name_of_ = [this](uint32_t number) -> std::string_view {
    return names_[number];
  };
  NameTable table_;
};

TEST_F(NameTableTest, AnEmptyTableHasNoName) {
  EXPECT_EQ(find(""), std::nullopt);
  EXPECT_EQ(find("a"), std::nullopt);
}

TEST_F(NameTableTest, EachOfManyNamesHasItsNumberAndOthersHaveNone) {
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(add(fmt::format("model.layers.{}", i)), std::nullopt);
  EXPECT_EQ(table_.size(), 10'000u);
  for (uint32_t i = 0; i < 10'000; ++i) {
    ASSERT_EQ(find(fmt::format("model.layers.{}", i)), i);
    ASSERT_EQ(find(fmt::format("model.layer.{}", i)), std::nullopt);
  }
}

TEST_F(NameTableTest, ANameThatIsThereKeepsItsNumber) {
  add("a");
  add("");
  EXPECT_EQ(add("a"), 0u);
  EXPECT_EQ(add(""), 1u);
  EXPECT_EQ(find("a"), 0u);
  EXPECT_EQ(table_.size(), 2u);
}

TEST_F(NameTableTest, RoomThatIsMadeLaterKeepsWhatIsThere) {
  for (int i = 0; i < 10; ++i) add(std::to_string(i));
  table_.reserve(1000, name_of_);
  for (uint32_t i = 0; i < 10; ++i) EXPECT_EQ(find(std::to_string(i)), i);
}

TEST_F(NameTableTest, NamesMayGetOtherNumbers) {
  for (int i = 0; i < 100; ++i) add(std::to_string(i));
  table_.renumber([](uint32_t number) { return 99 - number; });
  std::reverse(names_.begin(), names_.end());
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(find(std::to_string(i)), 99 - i);
}

}  // namespace
}  // namespace liveweight
