// Copies, where there are no hard links, are what they were made from.
#include "checkpoint/kept_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include "base/temporary_folder.h"
#include "checkpoint/file.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct stat facts_of(const fs::path& path) {
  struct stat facts {};
  EXPECT_EQ(lstat(path.c_str(), &facts), 0) << path;
  return facts;
}

class KeptFilesTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const fs::path from_ = folder_.path() / "from", to_ = folder_.path() / "to";
  const timespec times_[2] = {{1000, 1}, {2000, 2}};
};

TEST_F(KeptFilesTest, ACopyHasTheBytesTheModeTheAttributesAndTheTimes) {
  ASSERT_TRUE(write_text_file(from_, "text"));
  ASSERT_EQ(chmod(from_.c_str(), 0440), 0);
  const bool has_attributes = setxattr(from_.c_str(), "user.note", "kept", 4, 0) == 0;
  ASSERT_EQ(utimensat(AT_FDCWD, from_.c_str(), times_, 0), 0);
  const auto copied = copy_with_times(from_, to_);
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_EQ(read_text_file(to_).value(), "text");
  EXPECT_EQ(facts_of(to_).st_mode & 07777, 0440u);
  EXPECT_EQ(facts_of(to_).st_mtim.tv_sec, 2000);
  EXPECT_EQ(facts_of(to_).st_mtim.tv_nsec, 2);
  std::string note(4, ' ');
  const bool kept = getxattr(to_.c_str(), "user.note", note.data(), note.size()) == 4 && note == "kept";
  EXPECT_EQ(kept, has_attributes);
}

TEST_F(KeptFilesTest, ACopyOfALinkIsALinkOfItsTimes) {
  fs::create_symlink("nowhere", from_);
  ASSERT_EQ(utimensat(AT_FDCWD, from_.c_str(), times_, AT_SYMLINK_NOFOLLOW), 0);
  ASSERT_TRUE(copy_with_times(from_, to_));
  EXPECT_EQ(fs::read_symlink(to_), "nowhere");
  EXPECT_EQ(facts_of(to_).st_mtim.tv_sec, 2000);
}

TEST_F(KeptFilesTest, WhatCannotBeCopiedIsRefusedByName) {
  ASSERT_EQ(mkfifo(from_.c_str(), 0600), 0);
  EXPECT_THAT(copy_with_times(from_, to_).error().message, HasSubstr("from: cannot keep it: it is neither"));
  EXPECT_EQ(copy_with_times(folder_.path() / "missing", to_).error().code, ErrorCode::kIo);
}

TEST_F(KeptFilesTest, TheOwnerIsKept) {
  ASSERT_TRUE(write_text_file(from_, "text") && write_text_file(to_, "text"));
  if (chown(from_.c_str(), 12345, 54321) != 0) GTEST_SKIP() << "only root gives files away";
  ASSERT_TRUE(keep_mode(from_, to_));
  EXPECT_EQ(facts_of(to_).st_uid, 12345u);
  EXPECT_EQ(facts_of(to_).st_gid, 54321u);
}

TEST_F(KeptFilesTest, MountPointsAreKnown) {
  EXPECT_TRUE(is_mount_point("/proc").value());
  EXPECT_FALSE(is_mount_point(folder_.path()).value());
  EXPECT_FALSE(is_mount_point(folder_.path() / "missing"));
}

}  // namespace
}  // namespace liveweight
