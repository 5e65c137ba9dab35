// Source files that somebody changes while they are mapped: each a clear error, and no harm.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "liveweight/digest.h"
#include "liveweight/load.h"

namespace liveweight {
namespace {

const std::filesystem::path kSample =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "samples/addition/checkpoints";

class ChangingFileTest : public ::testing::TestWithParam<CommitMode> {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_);
    for (const char* file : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(kSample / "step_02500" / file, directory_ / file,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    LoadOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    options.mode = GetParam();
    model_ = load_model(open_model_directory(kSample / "step_00300").value(), options).value();
    before_ = digest_of(*model_)->model;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void expect_refused_without_harm(const Result<UpdateReport>& report) {
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kIo);
    EXPECT_THAT(report.error().message, ::testing::HasSubstr("model.safetensors: the file changed"));
    EXPECT_EQ(digest_of(*model_)->model, before_);
    EXPECT_EQ(model_->version().number, 1u);
    EXPECT_TRUE(reload(*model_, Checkpoint::open(kSample / "step_00400").value()));
  }

  const std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("liveweight-changing-" + std::to_string(getpid()));
  const std::filesystem::path file_ = directory_ / "model.safetensors";
  std::unique_ptr<LiveModel> model_;
  Digest before_;
};

TEST_P(ChangingFileTest, ATruncatedOneIsRefused) {
  const Checkpoint checkpoint = Checkpoint::open(directory_).value();
  std::filesystem::resize_file(file_, 300'000);
  expect_refused_without_harm(reload(*model_, checkpoint));
}

TEST_P(ChangingFileTest, AnEmptiedOneIsRefused) {
  const Checkpoint checkpoint = Checkpoint::open(directory_).value();
  std::filesystem::resize_file(file_, 0);
  expect_refused_without_harm(reload(*model_, checkpoint));
}

TEST_P(ChangingFileTest, OneThatWasReplacedIsRefused) {
  const Checkpoint checkpoint = Checkpoint::open(directory_).value();
  std::filesystem::copy_file(kSample / "step_01000/model.safetensors", directory_ / "new");
  std::filesystem::rename(directory_ / "new", file_);
  expect_refused_without_harm(reload(*model_, checkpoint));
}

TEST_P(ChangingFileTest, OneThatWasRewrittenInPlaceIsRefused) {
  const Checkpoint checkpoint = Checkpoint::open(directory_).value();
  std::filesystem::last_write_time(file_, std::filesystem::file_time_type::clock::now());
  std::fstream file(file_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-2, std::ios::end).write("\0\0", 2).flush();
  expect_refused_without_harm(reload(*model_, checkpoint));
}

TEST_P(ChangingFileTest, OneThatIsCutOffAfterItWasProvedIsNeverServed) {
  const Checkpoint checkpoint = Checkpoint::open(directory_).value();
  UpdateOptions options;
  int asked = 0;
  options.verify_source = [&]() -> Status {
    if (asked++ > 0) return checkpoint.check_unchanged();
    std::filesystem::resize_file(file_, 0);
    return {};
  };
  auto update = model_->begin_update(options);
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    ASSERT_TRUE(update->borrow(tensor.name, tensor.view));
  }
  const auto report = update->commit();
  // Only `in_place` reads the file again after the proof, to write over what was served.
  ASSERT_EQ(report.has_value(), GetParam() != CommitMode::kInPlace);
  if (report) {
    LoadOptions cold;
    cold.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    const auto expected = load_model(open_model_directory(kSample / "step_02500").value(), cold).value();
    EXPECT_EQ(digest_of(*model_)->model, digest_of(*expected)->model);
  } else {
    EXPECT_EQ(model_->pin().error().code, ErrorCode::kFailedState);
    update->abort();
    EXPECT_TRUE(reload(*model_, Checkpoint::open(kSample / "step_00400").value()));
  }
}

class ChangingDeltaTest : public ChangingFileTest {
 protected:
  void SetUp() override {
    ChangingFileTest::SetUp();
    const Checkpoint old = Checkpoint::open(kSample / "step_00300").value();
    const Checkpoint updated = Checkpoint::open(kSample / "step_02500").value();
    DeltaWriter writer = DeltaWriter::create(directory_ / "delta", {}).value();
    for (const CheckpointTensor& tensor : updated.tensors()) {
      ASSERT_TRUE(writer.add(tensor.name, old.find(tensor.name)->view, tensor.view));
    }
    ASSERT_TRUE(writer.finish());
    ASSERT_TRUE(model_->attach_mirror(Mirror::in_memory(old, same_name).value()));
  }

  // The shard of the delta is changed by `change` once it was opened.
  template <typename Change>
  void expect_refused(const Change& change) {
    const DeltaDirectory delta = DeltaDirectory::open(directory_ / "delta").value();
    const auto shard = directory_ / "delta/model-00000-of-00001.safetensors";
    std::filesystem::copy_file(shard, directory_ / "whole");
    change(shard);
    const auto report = reload_delta(*model_, delta, "0");
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kIo);
    EXPECT_THAT(report.error().message, ::testing::HasSubstr(".safetensors: the file changed"));
    EXPECT_EQ(digest_of(*model_)->model, before_);
    std::filesystem::rename(directory_ / "whole", shard);
    ASSERT_TRUE(reload_delta(*model_, DeltaDirectory::open(directory_ / "delta").value(), "0"));
    ASSERT_TRUE(model_->catch_up());
    EXPECT_NE(digest_of(*model_)->model, before_);
  }
};

TEST_P(ChangingDeltaTest, ATruncatedOneIsRefused) {
  expect_refused([](const auto& shard) { std::filesystem::resize_file(shard, 30'000); });
}

TEST_P(ChangingDeltaTest, AnEmptiedOneIsRefused) {
  expect_refused([](const auto& shard) { std::filesystem::resize_file(shard, 0); });
}

TEST_P(ChangingDeltaTest, OneThatWasReplacedIsRefused) {
  expect_refused([&](const auto& shard) {
    std::filesystem::copy_file(file_, directory_ / "new");
    std::filesystem::rename(directory_ / "new", shard);
  });
}

TEST_P(ChangingDeltaTest, OneThatWasRewrittenInPlaceIsRefused) {
  expect_refused([](const auto& shard) {
    std::filesystem::last_write_time(shard, std::filesystem::file_time_type::clock::now());
    std::fstream file(shard, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(-2, std::ios::end).write("\0\0", 2).flush();
  });
}

INSTANTIATE_TEST_SUITE_P(Modes, ChangingDeltaTest, ::testing::Values(CommitMode::kFlip, CommitMode::kCopy),
                         [](const auto& info) { return std::string(to_string(info.param)); });

INSTANTIATE_TEST_SUITE_P(Modes, ChangingFileTest,
                         ::testing::Values(CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace liveweight
