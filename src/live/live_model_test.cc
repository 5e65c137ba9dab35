// What a model does with versions, one after another and beside readers.
#include "liveweight/live_model.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "liveweight/digest.h"
#include "liveweight/load.h"
#include "quantize/kernel_format.h"

namespace liveweight {
namespace {

const std::filesystem::path kSample =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "samples/addition/checkpoints";
constexpr std::chrono::milliseconds kMoment{40};

class Versioned : public ::testing::TestWithParam<CommitMode> {
 protected:
  void SetUp() override { model_ = load("step_00300"); }

  std::unique_ptr<LiveModel> load(const char* step) const {
    LoadOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    options.mode = GetParam();
    return load_model(open_model_directory(kSample / step).value(), options).value();
  }

  Result<UpdateReport> reload_with(const UpdateOptions& options) {
    return reload(*model_, next_, {}, options);
  }

  // A partial update, which changes one tensor.
  void put_one() {
    UpdateOptions options;
    options.scope = {kName};
    Update update = model_->begin_update(options).value();
    ASSERT_TRUE(update.put(kName, next_.find(kName)->view));
    ASSERT_TRUE(update.commit());
  }

  // Whether `work` is done only once `held` is let go.
  template <typename Work>
  void expect_waits_for(Snapshot held, const Work& work) {
    std::atomic<bool> done{false};
    std::thread worker([&] {
      work();
      done = true;
    });
    std::this_thread::sleep_for(kMoment);
    EXPECT_FALSE(done);
    held = Snapshot();
    worker.join();
  }

  static constexpr const char* kName = "model.layers.0.mlp.down_proj.weight";
  const Checkpoint next_ = Checkpoint::open(kSample / "step_02500").value();
  std::unique_ptr<LiveModel> model_;
};

TEST_P(Versioned, TakesTheVersionWhoseDigestIsExpectedAndNoOther) {
  UpdateOptions options;
  options.expected_digest = digest_of(*load("step_02500"))->model;
  ASSERT_TRUE(reload_with(options));
  const auto again = reload(*model_, Checkpoint::open(kSample / "step_00300").value(), {}, options);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kDigestMismatch);
  EXPECT_EQ(digest_of(*model_)->model, *options.expected_digest);
}

TEST_P(Versioned, ReportsAPauseWithinTheCommitAndTheMemoryOfItsNextSlots) {
  const auto report = reload_with({});
  ASSERT_TRUE(report);
  EXPECT_LE(report->pause_us, report->commit_seconds * 1e6);
  EXPECT_GE(report->extra_peak_bytes, model_->plan().live_bytes());
  EXPECT_LE(report->extra_peak_bytes, report->predicted_extra_peak_bytes);
}

TEST_P(Versioned, GivesTheFirstErrorOfAnUpdateToEveryLaterCall) {
  Update update = model_->begin_update({}).value();
  const TensorView tensor = next_.find(kName)->view;
  const Status first = update.put("no.such.tensor", tensor);
  ASSERT_FALSE(first);
  EXPECT_EQ(update.put(kName, {tensor.dtype, {1}, tensor.data, 2}).error().message, first.error().message);
  EXPECT_EQ(update.commit().error().message, first.error().message);
}

TEST_P(Versioned, CatchesUpSoThatBothSlotsOfEveryParameterAreEqual) {
  ASSERT_TRUE(reload_with({}));
  put_one();
  ASSERT_TRUE(model_->catch_up());
  for (size_t p = 0; p < model_->plan().parameters().size(); ++p) {
    const auto index = static_cast<int64_t>(p);
    EXPECT_EQ(std::memcmp(model_->slot_address(index, 0), model_->slot_address(index, 1),
                          model_->plan().parameters()[p].format->bytes),
              0)
        << model_->plan().parameters()[p].name;
  }
}

TEST_P(Versioned, WaitsForReadersBeforeARollbackTouchesWhatTheyRead) {
  const Digest old = digest_of(*model_)->model;
  Snapshot before = model_->pin().value();
  if (GetParam() == CommitMode::kCopy) before = Snapshot();  // there a commit waits for them, too
  ASSERT_TRUE(reload_with({}));
  if (GetParam() == CommitMode::kCopy) before = model_->pin().value();
  expect_waits_for(std::move(before), [&] { EXPECT_TRUE(model_->rollback()); });
  EXPECT_EQ(digest_of(*model_)->model, old);
}

TEST_P(Versioned, WaitsForReadersOfTheVersionBeforeUntilTheyLetGo) {
  Snapshot before = model_->pin().value();
  if (GetParam() == CommitMode::kFlip) {
    ASSERT_TRUE(reload_with({}));
  }
  expect_waits_for(std::move(before), [&] { EXPECT_TRUE(reload_with({})); });
  EXPECT_EQ(digest_of(*model_)->model, digest_of(*load("step_02500"))->model);
}

TEST_P(Versioned, RefusesChangesOfATensorThatCameAndPiecesOfOneThatChanged) {
  const TensorView tensor = next_.find(kName)->view;
  const TensorDelta delta = make_delta(kName, tensor.dtype, tensor.shape, {{0}, std::vector<std::byte>(2)});
  const auto begin = [&] {
    UpdateOptions options;
    options.deltas = true;
    return model_->begin_update(options).value();
  };
  Update pieces = begin();
  ASSERT_TRUE(pieces.put(kName, tensor));
  EXPECT_EQ(pieces.put_delta(delta).error().code, ErrorCode::kDuplicateTensor);
  pieces.abort();
  Update twice = begin();
  ASSERT_TRUE(twice.put_delta(delta));
  EXPECT_EQ(twice.put_delta(delta).error().code, ErrorCode::kDuplicateTensor);
}

INSTANTIATE_TEST_SUITE_P(Modes, Versioned, ::testing::Values(CommitMode::kFlip, CommitMode::kCopy),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace liveweight
