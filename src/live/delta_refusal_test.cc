// What a delta is refused for, and that a refused one leaves nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kName = "model.layers.0.mlp.down_proj.weight";

class DeltaRefusal : public ::testing::Test {
 protected:
  void start(const char* scheme, CommitMode mode = CommitMode::kFlip) {
    while (!weights_.tensors.contains(kName)) {
      model_.emplace(random_);
      weights_ = model_->weights(random_);
    }
    // No element decides the scale but the first of each row.
    const int64_t cols = weights_.tensors.at(kName).shape[1];
    for (int64_t i = 0; i < element_count(weights_.tensors.at(kName).shape); ++i) {
      weights_.set(kName, i, i % cols == 0 ? 1.0f : 0.01f);
    }
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    options.mode = mode;
    live_ = make_model(*model_, weights_.catalog(), options).value();
    ASSERT_TRUE(put_all(*live_, weights_));
    before_ = digest_of(*live_)->model;
  }

  // A delta of those positions and values, from memory that goes away.
  Result<UpdateReport> put(std::vector<uint32_t> positions, const std::vector<float>& values,
                           UpdateOptions options = {}) {
    const Weights::Entry& entry = weights_.tensors.at(kName);
    Weights one;
    const auto count = static_cast<int64_t>(values.size());
    one.tensors["v"] = {
        entry.dtype, {count}, std::vector<std::byte>(values.size() * bits_of(entry.dtype) / 8)};
    for (int64_t i = 0; i < count; ++i) one.set("v", i, values[static_cast<size_t>(i)]);
    options.deltas = true;
    auto update = live_->begin_update(std::move(options));
    if (!update) return tl::unexpected(update.error());
    LW_TRY(update->put_delta({kName, entry.dtype, entry.shape, positions, one.tensors["v"].bytes, nullptr}));
    return update->commit();
  }

  void expect_refused(const Result<UpdateReport>& report, ErrorCode code, const std::string& text) {
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_THAT(report.error().message, HasSubstr(text));
    EXPECT_EQ(digest_of(*live_)->model, before_);
    EXPECT_EQ(live_->version().number, 1u);
  }

  Random random_{11};
  std::optional<RandomModel> model_;
  Weights weights_;
  std::unique_ptr<LiveModel> live_;
  Digest before_;
};

TEST_F(DeltaRefusal, NamesAPositionThatComesTwiceIsOutOfRangeOrOutOfOrder) {
  start("int8_per_channel");
  const auto size = static_cast<uint32_t>(element_count(weights_.tensors.at(kName).shape));
  expect_refused(put({1, 5, 5}, {0, 0, 0}), ErrorCode::kDuplicateTensor,
                 "down_proj.weight: position 5 comes twice");
  expect_refused(put({1, size}, {0, 0}), ErrorCode::kInvalidArgument, "out of range");
  expect_refused(put({5, 1}, {0, 0}), ErrorCode::kInvalidArgument, "must ascend");
}

TEST_F(DeltaRefusal, NamesTheElementThatNeedsAMirror) {
  for (const char* scheme :
       {"int8_per_channel", "int8_per_tensor", "int4_per_group:8", "fp8_per_block", "fp8_per_tensor"}) {
    start(scheme);
    const int64_t cols = weights_.tensors.at(kName).shape[1];
    ASSERT_GT(cols, 4);
    expect_refused(put({1, static_cast<uint32_t>(cols + 3)}, {0.005f, 5.0f}), ErrorCode::kFailedState,
                   "down_proj.weight: the change at [1, 3] may move its unit's scale");
  }
}

TEST_F(DeltaRefusal, NamesAValueThatIsNotFinite) {
  start("fp8_per_channel");
  expect_refused(put({1}, {INFINITY}), ErrorCode::kNonFinite, "expected finite values, got inf at [0, 1]");
  expect_refused(put({1}, {NAN}), ErrorCode::kNonFinite, "nan at [0, 1]");
}

TEST_F(DeltaRefusal, NamesATensorOfAnotherDtypeShapeOrNumberOfValues) {
  start("int8_per_channel");
  const Weights::Entry& entry = weights_.tensors.at(kName);
  const DType other = entry.dtype == DType::kF16 ? DType::kBF16 : DType::kF16;
  Shape shape = entry.shape;
  std::swap(shape[0], shape[1]);
  shape.push_back(1);
  const std::vector<std::byte> two(static_cast<size_t>(2 * bits_of(entry.dtype) / 8));
  const std::vector<uint32_t> one = {1};
  const auto put_one = [&](DType dtype, const Shape& of, size_t elements) -> Result<UpdateReport> {
    const std::span<const std::byte> values(two.data(), elements * two.size() / 2);
    return commit_deltas(*live_, {{kName, dtype, of, one, values, nullptr}});
  };
  expect_refused(put_one(other, entry.shape, 1), ErrorCode::kWrongDtype,
                 "down_proj.weight: expected changes of");
  expect_refused(put_one(entry.dtype, shape, 1), ErrorCode::kWrongShape,
                 "down_proj.weight: expected changes of shape");
  expect_refused(put_one(entry.dtype, entry.shape, 2), ErrorCode::kWrongShape, "of values for 1 positions");
  expect_refused(put_one(entry.dtype, entry.shape, 0), ErrorCode::kWrongShape, "of values for 1 positions");
}

// Each job checks 65,536 positions.
TEST(DeltaRefusals, APositionOutOfOrderIsFoundWhereOneJobEndsAndTheNextBegins) {
  Random random(1);
  const RandomModel model(one_layer_llama(264, 264));
  const auto live = make_model(model, model.weights(random).catalog(), {}).value();
  ASSERT_TRUE(put_all(*live, model.weights(random)));
  std::vector<uint32_t> positions((size_t{1} << 16) + 2);
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<std::byte> zeros(2 * positions.size());
  const auto put = [&] {
    return commit_deltas(*live, {{kName, DType::kBF16, {264, 264}, positions, zeros, nullptr}});
  };
  ASSERT_TRUE(put());
  positions[(1 << 16) - 1] = 1 << 16;
  EXPECT_EQ(put().error().code, ErrorCode::kDuplicateTensor);
  positions[(1 << 16) - 1] = (1 << 16) + 7;
  EXPECT_EQ(put().error().code, ErrorCode::kInvalidArgument);
}

TEST_F(DeltaRefusal, OfOneThatComesAfterTheUpdateIsPreparedSaysSo) {
  start("none");
  UpdateOptions options;
  options.deltas = true;
  auto update = live_->begin_update(options);
  ASSERT_TRUE(update);
  Weights next = weights_;
  next.set(kName, 1, 0.5f);
  const TensorDelta late = compare_tensors(kName, weights_.view(kName), next.view(kName)).value();
  ASSERT_TRUE(update->prepare());
  const Status status = update->put_delta(late);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kFailedState);
  EXPECT_THAT(status.error().message, HasSubstr(kName));
}

TEST_F(DeltaRefusal, OfOneAmongManyNamesItAndLosesNothing) {
  // More tensors than one thread takes at a time.
  for (; weights_.tensors.size() <= 16; start("int8_per_channel")) weights_ = {};
  Weights next = weights_;
  for (const auto& [name, entry] : weights_.tensors) next.set(name, 0, 0.5f);
  std::vector<TensorDelta> deltas = deltas_between(weights_, next);
  const auto bad = std::find_if(deltas.begin(), deltas.end(), [](const auto& d) { return d.name == kName; });
  ASSERT_NE(bad, deltas.end());
  bad->dtype = bad->dtype == DType::kF32 ? DType::kF16 : DType::kF32;
  UpdateOptions options;
  options.deltas = true;
  auto update = live_->begin_update(options);
  ASSERT_TRUE(update);
  const Status status = update->put_deltas(deltas);
  ASSERT_FALSE(status);
  expect_refused(tl::unexpected(status.error()), ErrorCode::kWrongDtype, kName);
}

TEST_F(DeltaRefusal, SaysThatTheMirrorIsMissingOnlyWhereItIsNeeded) {
  for (const char* scheme : {"int8_per_channel", "fp8_per_tensor", "fp8_per_block", "int4_per_group:128"}) {
    start(scheme);
    expect_refused(put({0}, {0.5f}), ErrorCode::kFailedState, "the model has no mirror (--mirror DIR)");
    expect_refused(put({1}, {2.0f}), ErrorCode::kFailedState, "the model has no mirror");
    // One that decides no scale needs none.
    const auto report = put({1}, {0.02f});
    ASSERT_TRUE(report) << scheme << report.error().message;
    EXPECT_EQ(report->changed_elements, 1u);
    EXPECT_EQ(report->whole_units, 0u);
  }
  start("none");
  ASSERT_TRUE(put({0, 1}, {0.5f, 7.0f}));
}

TEST_F(DeltaRefusal, IsOfAnUpdateBegunForDeltasOnAVersionThatIsCurrent) {
  start("int8_per_channel");
  UpdateOptions stale;
  stale.base_version = 7;
  expect_refused(put({1}, {0}, stale), ErrorCode::kStaleVersion, "based on version 7");
  auto update = live_->begin_update();
  ASSERT_TRUE(update);
  const Status status =
      update->put_delta(compare_tensors(kName, weights_.view(kName), weights_.view(kName)).value());
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("not begun for deltas"));
}

TEST_F(DeltaRefusal, CoversTheModeWithoutASecondSlot) {
  start("int8_per_channel", CommitMode::kInPlace);
  expect_refused(put({1}, {0}), ErrorCode::kUnsupported, "in_place");
}

TEST_F(DeltaRefusal, OfADeclaredTensorThatDoesNotComeNamesIt) {
  start("int8_per_channel");
  UpdateOptions options;
  options.scope = {kName, "model.norm.weight"};
  expect_refused(put({1}, {0.02f}, options), ErrorCode::kMissingTensor, "model.norm.weight");
}

TEST_F(DeltaRefusal, OfAMirrorWhoseFileWasCutOffNamesIt) {
  start("int8_per_channel");
  TemporaryFolder directory = TemporaryFolder::make("liveweight-test").value();
  const auto mirror = Mirror::in_memory(write_checkpoint(directory.path(), weights_), same_name);
  ASSERT_TRUE(live_->attach_mirror(*mirror));
  std::filesystem::resize_file(directory.path() / "model.safetensors", 100);
  expect_refused(put({1}, {2.0f}), ErrorCode::kIo, "model.safetensors: the file changed");
}

TEST_F(DeltaRefusal, OfAMirrorThatHoldsAnotherVersionSaysSo) {
  start("int8_per_channel");
  TemporaryFolder directory = TemporaryFolder::make("liveweight-test").value();
  const auto mirror = Mirror::in_memory(write_checkpoint(directory.path(), weights_), same_name);
  ASSERT_TRUE(live_->attach_mirror(*mirror));
  ASSERT_TRUE(put_all(*live_, weights_));
  const auto report = put({1}, {2.0f});
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("the mirror does not hold version 2"));
}

// In place an update that fails half-way leaves no version behind, and the mirror with one that is gone.
TEST(DeltaRefusals, AMirrorOfAVersionThatIsGoneIsNotInTheWayOfAWholeUpdate) {
  Random random(4);
  const RandomModel model(random);
  const Weights weights = model.weights(random);
  const TemporaryFolder directory = TemporaryFolder::make("liveweight-test").value();
  PlanOptions in_place;
  in_place.mode = CommitMode::kInPlace;
  const auto live = make_model(model, weights.catalog(), in_place).value();
  ASSERT_TRUE(put_all(*live, weights));
  ASSERT_TRUE(
      live->attach_mirror(Mirror::in_memory(write_checkpoint(directory.path(), weights), same_name).value()));
  ASSERT_TRUE(put_all(*live, weights));  // the mirror is not brought along
  const auto& [name, entry] = *weights.tensors.begin();
  ASSERT_TRUE(live->begin_update()->put(name, weights.view(name)));
  ASSERT_FALSE(live->pin());
  const auto report = put_all(*live, weights);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(digest_of(*live)->model, cold_digest(model, weights, {}));
}

}  // namespace
}  // namespace liveweight::testing
