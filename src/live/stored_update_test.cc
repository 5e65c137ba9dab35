// Updates of a model whose checkpoints are quantized already: two codes of four bits share a byte of a slot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/write.h"
#include "live/delivery.h"
#include "live/delta_fixture.h"
#include "liveweight/export.h"
#include "liveweight/load.h"

namespace liveweight::testing {
namespace {

const std::string kStem = "model.layers.0.mlp.down_proj.";

class StoredUpdate : public ::testing::Test {
 protected:
  // Groups of three; of 18 columns the second of two ranks has those from the ninth on.
  void SetUp() override {
    const auto source = folder_.path() / "source";
    Random random(6);
    write_checkpoint(source, model_.weights(random));
    ASSERT_TRUE(write_text_file(source / "config.json", model_.text()));
    ExportOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("int4_per_group:3@torchao-intx").value());
    options.format = ExportFormat::kTorchao;
    const auto report = export_quantized(open_model_directory(source).value(), out_, options);
    ASSERT_TRUE(report) << report.error().message;
  }

  std::unique_ptr<LiveModel> load(TensorParallel group) const {
    const ModelDirectory opened = open_model_directory(out_).value();
    LoadOptions options;
    options.tensor_parallel = group;
    options.quantization = choose_quantization(opened, std::nullopt).value();
    return load_model(opened, options).value();
  }

  const RandomModel model_{one_layer_llama(12, 18, 6)};
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path out_ = folder_.path() / "out";
};

TEST_F(StoredUpdate, TakesCodesInPiecesThatPartTwoOfOneByte) {
  const Checkpoint checkpoint = Checkpoint::open(out_).value();
  const std::string name = kStem + "_weight_qdata";
  const TensorView codes = checkpoint.find(name)->view;
  ASSERT_EQ(codes.shape, (Shape{12, 18}));
  for (const int64_t rank : {0, 1}) {
    const auto live = load({2, rank});
    const Digest before = digest_of(*live)->model;
    for (const int64_t cut : {9, 10, 11}) {
      UpdateOptions options;
      options.scope = {name};
      auto update = live->begin_update(options);
      ASSERT_TRUE(put_region(*update, name, codes, {{0, cut}, {12, 18 - cut}}));
      ASSERT_TRUE(put_region(*update, name, codes, {{0, 0}, {12, cut}}));
      ASSERT_TRUE(update->commit());
      EXPECT_EQ(digest_of(*live)->model, before) << "rank " << rank << ", cut at " << cut;
    }
  }
}

TEST_F(StoredUpdate, RefusesChangesOfCodesAndScalesByName) {
  const Checkpoint checkpoint = Checkpoint::open(out_).value();
  const auto live = load({});
  for (const char* part : {"_weight_qdata", "_weight_scale"}) {
    const TensorView tensor = checkpoint.find(kStem + part)->view;
    const auto each = static_cast<size_t>(bits_of(tensor.dtype) / 8);
    const auto report = commit_deltas(
        *live, {make_delta(kStem + part, tensor.dtype, tensor.shape, {{0}, std::vector<std::byte>(each)})});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(report.error().names, ::testing::ElementsAre(kStem + part));
  }
}

}  // namespace
}  // namespace liveweight::testing
