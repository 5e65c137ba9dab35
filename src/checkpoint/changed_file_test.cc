// Each thing that tells one state of a file from another does so alone.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "checkpoint/file.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

class ChangedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write(path_);
    set_time(path_, {1000, 500});
    file_ = SafetensorsFile::open(path_).value();
    ASSERT_TRUE(file_->check_unchanged());
  }

  static void write(const std::filesystem::path& path) {
    const std::byte byte{7};
    const std::pair<std::string, TensorView> tensors[] = {{"a", {DType::kU8, {1}, &byte, 1}}};
    ASSERT_TRUE(write_safetensors(path, tensors));
  }
  static void set_time(const std::filesystem::path& path, timespec time) {
    const timespec times[] = {time, time};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path path_ = folder_.path() / "model.safetensors";
  std::shared_ptr<const SafetensorsFile> file_;
};

TEST_F(ChangedFileTest, AnotherSecondIsNoticed) {
  set_time(path_, {1001, 500});
  EXPECT_FALSE(file_->check_unchanged());
}

TEST_F(ChangedFileTest, AnotherNanosecondIsNoticed) {
  set_time(path_, {1000, 501});
  EXPECT_FALSE(file_->check_unchanged());
}

TEST_F(ChangedFileTest, AnotherFileOfTheSameTimeIsNoticed) {
  write(folder_.path() / "new");
  set_time(folder_.path() / "new", {1000, 500});
  std::filesystem::rename(folder_.path() / "new", path_);
  EXPECT_FALSE(file_->check_unchanged());
}

TEST_F(ChangedFileTest, AnotherLengthOfTheSameTimeIsNoticed) {
  std::ofstream(path_, std::ios::app) << "x";
  set_time(path_, {1000, 500});
  EXPECT_FALSE(file_->check_unchanged());
}

TEST_F(ChangedFileTest, PagesThatWereNotThereWhenTheyWereReadAreNoticed) {
  const std::string text = [&] {
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  std::filesystem::resize_file(path_, 0);
  EXPECT_EQ(*file_->view(file_->header().tensors[0]).data, std::byte{0});
  std::ofstream(path_, std::ios::binary) << text;
  set_time(path_, {1000, 500});
  EXPECT_FALSE(file_->check_unchanged());
}

TEST_F(ChangedFileTest, AFileThatIsGoneIsNoticed) {
  std::filesystem::remove(path_);
  EXPECT_EQ(file_->check_unchanged().error().code, ErrorCode::kIo);
}

// Replaces the file when it is mapped.
class WhileItIsOpened : public Seam {
 public:
  explicit WhileItIsOpened(std::function<void()> change) : change_(std::move(change)) { set_seam(this); }
  ~WhileItIsOpened() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step == Step::kMap) change_();
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

 private:
  const std::function<void()> change_;
};

TEST_F(ChangedFileTest, AChangeWhileItIsOpenedIsNoticed) {
  const WhileItIsOpened change([&] { set_time(path_, {2000, 0}); });
  EXPECT_FALSE(SafetensorsFile::open(path_));
}

}  // namespace
}  // namespace liveweight
