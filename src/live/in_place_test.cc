// Commits that have no second slot to fall back on: what fails must fail before the first byte is written.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "liveweight/digest.h"
#include "liveweight/load.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

const std::filesystem::path kSample =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "samples/addition/checkpoints/step_02500";

// The sample in fp16, with one value of its own in each of the first two columns of a layer's down_proj.
class Float16Sample {
 public:
  explicit Float16Sample(float first, float second) {
    std::filesystem::create_directories(directory_);
    std::filesystem::copy(kSample / "config.json", directory_ / "config.json");
    const Checkpoint sample = Checkpoint::open(kSample).value();
    std::vector<std::vector<uint16_t>> data;
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const CheckpointTensor& tensor : sample.tensors()) {
      std::vector<uint16_t>& elements = data.emplace_back();
      for (int64_t i = 0; i < element_count(tensor.view.shape); ++i) {
        elements.push_back(float_to_fp16(load_high_precision(tensor.view.dtype, tensor.view.data, i)));
      }
      if (tensor.name == "model.layers.1.mlp.down_proj.weight") {
        elements[0] = float_to_fp16(first);
        elements[1] = float_to_fp16(second);
      }
      tensors.emplace_back(
          tensor.name, TensorView{DType::kF16, tensor.view.shape,
                                  reinterpret_cast<const std::byte*>(elements.data()), tensor.view.bytes});
    }
    EXPECT_TRUE(write_safetensors(directory_ / "model.safetensors", tensors));
  }
  ~Float16Sample() { std::filesystem::remove_all(directory_); }

  const std::filesystem::path& directory() const { return directory_; }

 private:
  static inline int made_ = 0;
  const std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() /
      ("liveweight-in-place-" + std::to_string(getpid()) + "-" + std::to_string(made_++));
};

TEST(InPlaceTest, AScaleThatOverflowsIsRefusedBeforeTheModelIsTouched) {
  const Float16Sample good(0.5f, -0.5f), bad(40000.0f, -40000.0f);
  for (const char* scheme : {"int4_per_group@torchao-tinygemm", "int4_per_group@torchao",
                             "int4_per_group@compressed-tensors-asymmetric"}) {
    const ModelDirectory opened = open_model_directory(good.directory()).value();
    LoadOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    options.mode = CommitMode::kInPlace;
    const auto model = load_model(opened, options).value();
    const Digest before = digest_of(*model)->model;
    options.mode = CommitMode::kFlip;
    const auto cold = load_model(open_model_directory(bad.directory()).value(), options);
    const auto report = reload(*model, Checkpoint::open(bad.directory()).value());
    ASSERT_EQ(report.has_value(), cold.has_value()) << scheme;
    if (report) continue;
    EXPECT_EQ(report.error().code, ErrorCode::kNonFinite);
    const auto after = digest_of(*model);
    ASSERT_TRUE(after) << scheme << ": " << after.error().message;
    EXPECT_EQ(after->model, before) << scheme;
  }
}

TEST(InPlaceTest, ThereIsNoVersionToGoBackTo) {
  const Float16Sample first(0.5f, -0.5f), second(0.25f, -0.5f);
  LoadOptions options;
  options.mode = CommitMode::kInPlace;
  const auto model = load_model(open_model_directory(first.directory()).value(), options).value();
  ASSERT_TRUE(reload(*model, Checkpoint::open(second.directory()).value()));
  const Digest before = digest_of(*model)->model;
  EXPECT_EQ(model->rollback().error().code, ErrorCode::kFailedState);
  EXPECT_EQ(digest_of(*model)->model, before);
  EXPECT_EQ(model->version().number, 2u);
}

TEST(InPlaceTest, ADigestThatIsExpectedCannotBeProvedAndIsRefusedBeforeTheModelIsTouched) {
  const Float16Sample first(0.5f, -0.5f), second(0.25f, -0.5f);
  LoadOptions options;
  options.mode = CommitMode::kInPlace;
  const auto model = load_model(open_model_directory(first.directory()).value(), options).value();
  const Digest before = digest_of(*model)->model;
  UpdateOptions update;
  update.expected_digest = before;
  const auto report = reload(*model, Checkpoint::open(second.directory()).value(), {}, update);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(digest_of(*model)->model, before);
}

}  // namespace
}  // namespace liveweight
