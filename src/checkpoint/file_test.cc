// What is named is on disk before it has its name, and every system call that fails is an error.
#include "checkpoint/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <vector>

#include "base/temporary_folder.h"
#include "checkpoint/mapping.h"
#include "checkpoint/mirror_log.h"
#include "checkpoint/write.h"

namespace liveweight {
namespace {

// The steps that are reached, in order; those of writing moved at most `most` bytes at a time.
class Steps : public Seam {
 public:
  explicit Steps(size_t most = SIZE_MAX) : most_(most) { set_seam(this); }
  ~Steps() override { set_seam(nullptr); }
  Status reached(Step step) override {
    steps_.push_back(step);
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return std::min(bytes, most_); }
  const std::vector<Step>& all() const { return steps_; }

 private:
  const size_t most_;
  std::vector<Step> steps_;
};

class FileTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path path_ = folder_.path() / "file";
};

TEST_F(FileTest, IsSyncedBeforeItIsNamed) {
  const Steps steps;
  ASSERT_TRUE(write_text_file(path_, "text"));
  EXPECT_EQ(steps.all(), (std::vector{Step::kOpen, Step::kWrite, Step::kSync, Step::kRename}));
}

TEST_F(FileTest, DirectoriesAreSyncedBeforeTheyAreNamedAndTheirNamesAfter) {
  for (const bool exchange : {false, true}) {
    ReplacementDirectory directory(path_);
    ASSERT_TRUE(directory.create());
    const Steps steps;
    ASSERT_TRUE(directory.finish(exchange));
    EXPECT_EQ(steps.all(), (std::vector{Step::kOpen, Step::kSync, Step::kRename, Step::kOpen, Step::kSync}));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1)
      << "the directory that was exchanged goes away";
}

TEST_F(FileTest, RecordsOfAMirrorsLogAreSyncedOneByOne) {
  const uint64_t begin = begin_mirror_log(path_, 1, "0", {}).value();
  const Steps steps;
  ASSERT_TRUE(append_settled(path_, begin, {2, "1", {}, {}, true, "boot"}));
  EXPECT_EQ(steps.all(), (std::vector{Step::kOpen, Step::kMirrorWrite, Step::kSync}));
}

TEST_F(FileTest, WhatCannotBeSyncedIsAnError) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const FileDescriptor in(ends[0]), out(ends[1]);
  EXPECT_EQ(sync_file(out, "pipe").error().code, ErrorCode::kIo);

  std::ofstream(path_) << std::string(1 << 16, 'x');
  const Mapping mapping = Mapping::open(path_, Mapping::Access::kShared).value();
  EXPECT_TRUE(mapping.sync());
  munmap(mapping.writable().data(), mapping.bytes().size());
  EXPECT_EQ(mapping.sync().error().code, ErrorCode::kIo);
}

TEST_F(FileTest, ComesWholeWhereEachCallMovesLittle) {
  const std::string text = "what is written comes back";
  {
    const Steps steps(3);
    ASSERT_TRUE(write_text_file(path_, text));
    EXPECT_EQ(read_text_file(path_).value(), text);
  }
  EXPECT_EQ(read_text_file(path_).value(), text);
}

// Cuts the file off before it is read.
class CutOff : public Seam {
 public:
  explicit CutOff(std::filesystem::path path) : path_(std::move(path)) { set_seam(this); }
  ~CutOff() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step == Step::kRead) std::filesystem::resize_file(path_, 4);
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

 private:
  const std::filesystem::path path_;
};

TEST_F(FileTest, ATextThatIsCutOffMeanwhileIsAsLongAsWhatWasRead) {
  ASSERT_TRUE(write_text_file(path_, "a text"));
  const CutOff cut(path_);
  EXPECT_EQ(read_text_file(path_).value(), "a te");
}

TEST_F(FileTest, OnlyRegularFilesAreRead) {
  for (const std::filesystem::path& path : {std::filesystem::path("/dev/null"), folder_.path()}) {
    const auto text = read_text_file(path);
    ASSERT_FALSE(text);
    EXPECT_NE(text.error().message.find("expected a regular file"), std::string::npos)
        << text.error().message;
  }
  std::ofstream(path_).close();
  std::filesystem::resize_file(path_, uint64_t{257} << 20);
  EXPECT_NE(read_text_file(path_).error().message.find("over the limit"), std::string::npos);
}

TEST_F(FileTest, WhatWasNotFinishedGoesAwayAndWhatWasFinishedStays) {
  {
    ReplacementFile file(path_);
    ASSERT_TRUE(file.create());
    std::optional<ReplacementDirectory> directory(std::in_place, folder_.path() / "directory");
    ASSERT_TRUE(directory->create());
    const ReplacementDirectory moved(std::move(*directory));
    directory.reset();
    EXPECT_TRUE(std::filesystem::exists(moved.path()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  {
    ReplacementDirectory directory(folder_.path() / "directory");
    std::filesystem::create_directories(directory.path() / "left behind");
    ASSERT_TRUE(directory.create());
    ReplacementDirectory moved(std::move(directory));
    ASSERT_TRUE(moved.finish());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / "directory"));
}

TEST_F(FileTest, AHeaderEndsWhereEightBytesDo) {
  const std::byte byte{7};
  for (const char* name : {"a", "ab", "abc", "abcd", "abcde"}) {
    const std::pair<std::string, TensorView> tensors[] = {{name, {DType::kU8, {1}, &byte, 1}}};
    ASSERT_TRUE(write_safetensors(path_, tensors));
    EXPECT_EQ(std::filesystem::file_size(path_) % 8, 1u) << name;
  }
}

}  // namespace
}  // namespace liveweight
