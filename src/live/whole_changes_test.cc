// Whole tensors beside a mirror: what it follows, and what it does not.
#include <gmock/gmock.h>

#include <cstring>

#include "base/temporary_folder.h"
#include "liveweight/load.h"

namespace liveweight {
namespace {

const std::filesystem::path kSample =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "samples/addition/checkpoints";

class WholeChangesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    LoadOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    model_ = load_model(open_model_directory(kSample / "step_00300").value(), options).value();
    mirror_ = Mirror::in_memory(old_, same_name).value();
    ASSERT_TRUE(model_->attach_mirror(mirror_));
  }

  // A change of the largest element of a row, which cannot do without the mirror.
  Status put_delta() {
    const std::string name = "model.layers.0.mlp.down_proj.weight";
    const TensorView& tensor = updated_.find(name)->view;
    UpdateOptions options;
    options.deltas = true;
    LW_ASSIGN(Update update, model_->begin_update(options));
    const uint16_t large = 0x42c8;  // 100 in bf16
    std::vector<std::byte> value(sizeof large);
    std::memcpy(value.data(), &large, sizeof large);
    LW_TRY(update.put_delta(make_delta(name, tensor.dtype, tensor.shape, {{0}, std::move(value)})));
    LW_TRY(update.commit());
    return {};
  }

  // Nearly every element of every tensor changes.
  UpdateReport put_most() {
    UpdateOptions options;
    options.scope = {"model"};
    Update update = model_->begin_update(options).value();
    for (const CheckpointTensor& tensor : updated_.tensors()) {
      EXPECT_TRUE(update.borrow(tensor.name, tensor.view));
    }
    return update.commit().value();
  }

  // The last columns of a tensor before the first ones.
  UpdateReport put_cut(const std::string& name) {
    const TensorView tensor = updated_.find(name)->view;
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1], each = bits_of(tensor.dtype) / 8;
    UpdateOptions options;
    options.scope = {name};
    Update update = model_->begin_update(options).value();
    for (const auto& [col, width] : {std::pair(cols - 5, int64_t{5}), std::pair(int64_t{0}, cols - 5)}) {
      std::vector<std::byte> box;
      for (int64_t row = 0; row < rows; ++row) {
        const std::byte* from = tensor.data + (row * cols + col) * each;
        box.insert(box.end(), from, from + width * each);
      }
      EXPECT_TRUE(
          update.put(name, {tensor.dtype, {rows, width}, box.data(), box.size()}, {{0, col}, {rows, width}}));
    }
    return update.commit().value();
  }

  const Checkpoint old_ = Checkpoint::open(kSample / "step_00300").value();
  const Checkpoint updated_ = Checkpoint::open(kSample / "step_02500").value();
  std::unique_ptr<LiveModel> model_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(WholeChangesTest, AreNotedHoweverATensorIsCut) {
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  EXPECT_TRUE(put_cut(name).in_mirror);
  ASSERT_TRUE(model_->catch_up());
  const TensorView& tensor = updated_.find(name)->view;
  EXPECT_EQ(std::memcmp(mirror_->find(name).data, tensor.data, tensor.bytes), 0);
  EXPECT_TRUE(put_delta());
}

TEST_F(WholeChangesTest, AreNotedOnDiskSoThatItsChecksumsHold) {
  const TemporaryFolder folder = TemporaryFolder::make("liveweight-whole-changes").value();
  mirror_ = Mirror::open(folder.path() / "mirror").value();
  ASSERT_TRUE(mirror_->replace(old_, same_name, ""));
  ASSERT_TRUE(model_->attach_mirror(mirror_));
  EXPECT_TRUE(put_cut("model.layers.0.mlp.down_proj.weight").in_mirror);
  ASSERT_TRUE(model_->catch_up());
  EXPECT_TRUE(mirror_->verify());
}

TEST_F(WholeChangesTest, AreNotNotedInAMirrorThatHoldsTheTensorInAnotherForm) {
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  const TensorView& tensor = updated_.find(name)->view;
  const std::vector<std::byte> zeros(tensor.bytes * 2);
  for (const TensorView& other :
       {TensorView{DType::kF32, tensor.shape, zeros.data(), tensor.bytes * 2},
        TensorView{tensor.dtype, {tensor.shape[1], tensor.shape[0]}, zeros.data(), tensor.bytes}}) {
    const TemporaryFolder folder = TemporaryFolder::make("liveweight-whole-changes").value();
    const std::pair<std::string, TensorView> tensors[] = {{name, other}};
    ASSERT_TRUE(write_safetensors(folder.path() / "model.safetensors", tensors));
    mirror_ = Mirror::in_memory(Checkpoint::open(folder.path()).value(), same_name).value();
    ASSERT_TRUE(model_->attach_mirror(mirror_));
    EXPECT_FALSE(put_cut(name).in_mirror) << to_string(other.dtype);
  }
}

TEST_F(WholeChangesTest, ThatAreTooManyLeaveTheMirrorBehindUntilItIsReplaced) {
  EXPECT_FALSE(put_most().in_mirror);
  const Status refused = put_delta();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("the mirror does not hold version 2"));
  ASSERT_TRUE(mirror_->replace(updated_, same_name, ""));
  ASSERT_TRUE(model_->attach_mirror(mirror_));
  EXPECT_TRUE(put_delta());
}

TEST_F(WholeChangesTest, ThatAreTooManyAndAreRolledBackLeaveTheMirrorWhereTheModelIs) {
  EXPECT_FALSE(put_most().in_mirror);
  ASSERT_TRUE(model_->rollback());
  const Status taken = put_delta();
  EXPECT_TRUE(taken) << taken.error().message;
}

}  // namespace
}  // namespace liveweight
