// What a patched checkpoint holds beside its tensors.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>

#include "base/seam.h"
#include "checkpoint/delta_apply_fixture.h"
#include "checkpoint/encode.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;

TEST_F(DeltaApplyTest, HoldsEveryDeltasChangesTheOtherFilesAndAnIndexOfItsVersion) {
  const auto report = apply({delta("1", "0", kOld, kNext), delta("2", "1", kNext, kLast)});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->version, "2");
  EXPECT_EQ(report->deltas, 2u);
  EXPECT_EQ(report->tensors, 1u);
  EXPECT_EQ(report->changed_elements, 2u);
  EXPECT_EQ(report->bytes, 12u);
  const Checkpoint checkpoint = Checkpoint::open(out_).value();
  EXPECT_EQ(values(checkpoint, "a"), kLast);
  EXPECT_EQ(values(checkpoint, "b"), kOld);
  EXPECT_EQ(checkpoint.find("b")->file, "2.safetensors");
  EXPECT_EQ(checkpoint.index_metadata().at("version"), "2");
  EXPECT_EQ(checkpoint.index_metadata().at("total_size"), "12");
  EXPECT_EQ(checkpoint.metadata_of("1.safetensors").at("version"), "2");
  EXPECT_EQ(checkpoint.metadata_of("1.safetensors").at("format"), "pt");
  EXPECT_EQ(read_text_file(out_ / "config.json").value(), "{}");
}

TEST_F(DeltaApplyTest, ForgetsTheVersionWhereADeltaHasNone) {
  const std::vector<uint32_t> position{0};
  const std::pair<std::string, TensorView> tensors[] = {
      {"a.indices", {DType::kU32, {1}, reinterpret_cast<const std::byte*>(position.data()), 4}},
      {"a.values", {DType::kBF16, {1}, reinterpret_cast<const std::byte*>(kNext.data()), 2}}};
  ASSERT_TRUE(write_safetensors(folder_.path() / "pairs.safetensors", tensors));
  ASSERT_TRUE(apply({folder_.path() / "pairs.safetensors"}));
  const Checkpoint checkpoint = Checkpoint::open(out_).value();
  EXPECT_EQ(values(checkpoint, "a"), kNext);
  EXPECT_EQ(version_of(checkpoint).value(), "");
  EXPECT_FALSE(checkpoint.metadata().contains("version"));
}

TEST_F(DeltaApplyTest, TakesOtherFilesOfANewerCheckpointFirst) {
  const fs::path newer = folder_.path() / "newer";
  fs::copy(base_, newer);
  std::ofstream(newer / "config.json") << "newer";
  std::ofstream(base_ / "tokenizer.json") << "old";
  ASSERT_TRUE(apply({newer, delta("1", "0", kOld, kNext)}));
  EXPECT_EQ(read_text_file(out_ / "config.json").value(), "newer");
  EXPECT_EQ(read_text_file(out_ / "tokenizer.json").value(), "old");
}

// Does something when the first byte is written.
class WhenItWrites : public Seam {
 public:
  explicit WhenItWrites(std::function<void()> change) : change_(std::move(change)) { set_seam(this); }
  ~WhenItWrites() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step == Step::kWrite) change_();
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

 private:
  const std::function<void()> change_;
};

TEST_F(DeltaApplyTest, OfABaseThatChangesMeanwhileIsRefused) {
  const auto path = delta("1", "0", kOld, kNext);
  const WhenItWrites change([&] {
    const timespec times[] = {{1000, 0}, {1000, 0}};
    utimensat(AT_FDCWD, (base_ / "2.safetensors").c_str(), times, 0);
  });
  EXPECT_EQ(apply({path}).error().code, ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(DeltaApplyTest, LeavesADirectoryWithFiles) {
  const auto path = delta("1", "0", kOld, kNext);
  fs::create_directories(out_);
  std::ofstream(out_ / "mine") << "mine";
  EXPECT_THAT(apply({path}).error().message, HasSubstr("expected a new or empty directory"));
  EXPECT_EQ(read_text_file(out_ / "mine").value(), "mine");
}

TEST_F(DeltaApplyTest, WritesOnlyWhatChanged) {
  EXPECT_EQ(DeltaDirectory::open(delta("1", "0", kOld, kOld))->names().size(), 0u);
  EXPECT_EQ(Checkpoint::open(delta("2", "1", kOld, kNext))->index_metadata().at("compression_format"),
            "none");
  std::vector<uint16_t> one_byte = kOld;
  one_byte[1] ^= 0x100;
  const TensorDelta changes = compare_tensors("a", view_of(kOld), view_of(one_byte)).value();
  EXPECT_EQ(encode_overwrite(changes, view_of(kOld))->size(), 4u + 5u);
}

}  // namespace
}  // namespace liveweight
