// What a process that was killed left behind goes away with the next, and nothing else does.
#include "checkpoint/abandoned.h"

#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "checkpoint/write.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

namespace fs = std::filesystem;

class Abandoned : public ::testing::Test {
 protected:
  fs::path made(const std::string& name, std::chrono::minutes age = std::chrono::minutes(5)) {
    const fs::path path = place_ / name;
    fs::create_directories(path / "inside");
    EXPECT_TRUE(write_text_file(path / "inside/model.safetensors", "much"));
    fs::last_write_time(path, fs::file_time_type::clock::now() - age);
    return path;
  }

  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const fs::path place_ = folder_.path();
};

TEST_F(Abandoned, DirectoriesOfThatNameAreRemoved) {
  const fs::path first = made("out.tmp.17"), second = made("out.tmp.4000000000");
  remove_abandoned(place_, "out.tmp.");
  EXPECT_FALSE(fs::exists(first) || fs::exists(second));
}

TEST_F(Abandoned, NothingElseIsRemoved) {
  const fs::path kept[] = {made("out"),          made("out.tmp."),     made("out.tmp.17a"),
                           made("other.tmp.17"), made("out.tmp.x.17"), made(".out.tmp.17"),
                           made("my.out.tmp.17")};
  ASSERT_TRUE(write_text_file(place_ / "out.tmp.18", "a file"));
  fs::last_write_time(place_ / "out.tmp.18", fs::file_time_type::clock::now() - std::chrono::hours(1));
  fs::create_directory_symlink(kept[0], place_ / "out.tmp.19");
  remove_abandoned(place_, "out.tmp.");
  for (const fs::path& path : kept) EXPECT_TRUE(fs::exists(path / "inside/model.safetensors")) << path;
  EXPECT_TRUE(fs::exists(place_ / "out.tmp.18"));
  EXPECT_TRUE(fs::exists(place_ / "out.tmp.19"));
}

TEST_F(Abandoned, WhatSomebodyHasClaimedOrJustMadeStays) {
  const fs::path claimed = made("out.tmp.17"), young = made("out.tmp.18", std::chrono::minutes(0));
  {
    const auto claim = claim_directory(claimed);
    ASSERT_TRUE(claim);
    remove_abandoned(place_, "out.tmp.");
    EXPECT_TRUE(fs::exists(claimed) && fs::exists(young));
  }
  remove_abandoned(place_, "out.tmp.");
  EXPECT_FALSE(fs::exists(claimed));
  EXPECT_TRUE(fs::exists(young));
}

TEST_F(Abandoned, OnesGoWhenTheDirectoryIsReplacedAgainAndLivingOnesStay) {
  const fs::path left = made("out.tmp.17");
  ReplacementDirectory living(place_ / "out");
  ASSERT_TRUE(living.create());
  EXPECT_FALSE(fs::exists(left));
  fs::last_write_time(living.path(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  remove_abandoned(place_, "out.tmp.");
  EXPECT_TRUE(fs::exists(living.path()));
  ASSERT_TRUE(living.finish());
  EXPECT_TRUE(fs::exists(place_ / "out"));
}

TEST_F(Abandoned, APlaceThatIsNotThereIsNoTrouble) {
  remove_abandoned(place_ / "nowhere", "out.tmp.");
  EXPECT_FALSE(claim_directory(place_ / "nowhere"));
}

}  // namespace
}  // namespace liveweight
