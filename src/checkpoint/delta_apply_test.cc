// What a patched checkpoint holds beside its tensors.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <functional>

#include "base/seam.h"
#include "base/temporary_folder.h"
#include "checkpoint/encode.h"
#include "checkpoint/write.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

TensorView view_of(const std::vector<uint16_t>& data) {
  return {DType::kBF16,
          {static_cast<int64_t>(data.size())},
          reinterpret_cast<const std::byte*>(data.data()),
          data.size() * 2};
}

class DeltaApplyTest : public ::testing::Test {
 protected:
  // Two tensors in a shard each, and what else a checkpoint has.
  void SetUp() override {
    fs::create_directories(base_);
    write("1.safetensors", "a", {{"version", "0"}, {"format", "pt"}});
    write("2.safetensors", "b", {});
    std::ofstream(base_ / "model.safetensors.index.json")
        << R"({"metadata": {"version": "0", "total_size": 12}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})";
    std::ofstream(base_ / "config.json") << "{}";
  }
  void write(const char* file, const char* name, const std::map<std::string, std::string>& metadata) {
    const std::pair<std::string, TensorView> tensors[] = {{name, view_of(kOld)}};
    ASSERT_TRUE(write_safetensors(base_ / file, tensors, metadata));
  }

  fs::path delta(const std::string& version, const std::string& base, const std::vector<uint16_t>& old,
                 const std::vector<uint16_t>& updated) {
    DeltaWriteOptions options;
    options.version = version;
    options.base_version = base;
    auto writer = DeltaWriter::create(folder_.path() / ("delta" + version), options);
    EXPECT_TRUE(writer && writer->add("a", view_of(old), view_of(updated)) && writer->finish());
    return folder_.path() / ("delta" + version);
  }

  Result<DeltaApplyReport> apply(const std::vector<fs::path>& deltas) const {
    return apply_deltas(base_, deltas, out_);
  }
  static std::vector<uint16_t> values(const Checkpoint& checkpoint, const char* name) {
    const TensorView view = checkpoint.find(name)->view;
    std::vector<uint16_t> values(view.bytes / 2);
    std::memcpy(values.data(), view.data, view.bytes);
    return values;
  }

  const std::vector<uint16_t> kOld{1, 2, 3}, kNext{9, 2, 3}, kLast{9, 2, 8};
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const fs::path base_ = folder_.path() / "base", out_ = folder_.path() / "out";
};

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
