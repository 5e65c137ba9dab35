// A directory that is patched in place is one process's, whatever leads to it.
#include "checkpoint/directory_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/temporary_folder.h"
#include "checkpoint/write.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class DirectoryLockTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(path_); }

  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const fs::path path_ = fs::canonical(folder_.path()) / "directory";
};

TEST_F(DirectoryLockTest, IsOneProcesssAndTheNextsWhenItGoesAway) {
  {
    const auto lock = DirectoryLock::take(path_);
    ASSERT_TRUE(lock) << lock.error().message;
    const auto second = DirectoryLock::take(path_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
    EXPECT_THAT(second.error().message, HasSubstr("directory: it is locked: another process"));
  }
  EXPECT_TRUE(DirectoryLock::take(path_));
}

TEST_F(DirectoryLockTest, IsOfTheDirectoryItselfWhereALinkLeadsToIt) {
  fs::create_directory_symlink("directory", folder_.path() / "link");
  EXPECT_EQ(DirectoryLock::take(folder_.path() / "link")->path(), path_);
  EXPECT_EQ(DirectoryLock::take(path_ / "../directory/.")->path(), path_);
  EXPECT_EQ(DirectoryLock::take(path_ / "missing").error().code, ErrorCode::kIo);
}

TEST_F(DirectoryLockTest, OfAMountPointIsRefusedWithWhatToDo) {
  const auto lock = DirectoryLock::take("/proc");
  ASSERT_FALSE(lock);
  EXPECT_THAT(lock.error().message, HasSubstr("/proc: it is a mount point"));
  EXPECT_THAT(lock.error().message, HasSubstr("--out"));
}

// Exchanges the directory for one whose number is one more. False while another is at it.
bool count_up(const fs::path& path) {
  const auto lock = DirectoryLock::take(path);
  if (!lock) return false;
  ReplacementDirectory next(path);
  const int number = std::stoi(read_text_file(path / "number").value());
  EXPECT_TRUE(next.create() && write_text_file(next.path() / "number", std::to_string(number + 1)));
  EXPECT_TRUE(next.finish(true));
  return true;
}

TEST_F(DirectoryLockTest, WhatOneMadeOfItIsWhatTheNextFinds) {
  constexpr int kThreads = 4, kTimes = 50;
  ASSERT_TRUE(write_text_file(path_ / "number", "0"));
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int done = 0; done < kTimes;) done += count_up(path_);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read_text_file(path_ / "number").value(), std::to_string(kThreads * kTimes));
}

}  // namespace
}  // namespace liveweight
