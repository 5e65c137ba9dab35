#include "liveweight/quantization_error.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "liveweight/load.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

const std::filesystem::path kSample = std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "samples/addition";

ModelDirectory sample(const char* checkpoint) {
  return open_model_directory(kSample / checkpoint).value();
}

std::unique_ptr<LiveModel> load(const ModelDirectory& directory, const char* scheme) {
  LoadOptions options;
  options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
  return load_model(directory, options).value();
}

Result<QuantizationErrorReport> compare(const LiveModel& model, const Checkpoint& checkpoint) {
  return quantization_error_of(model, model.pin().value(), checkpoint);
}

const ParameterError& find(const QuantizationErrorReport& report, const std::string& name) {
  for (const ParameterError& parameter : report.parameters) {
    if (parameter.name == name) return parameter;
  }
  throw std::runtime_error("no " + name);
}

// Symmetric int8 with a scale a row, by its textbook definition.
QuantizationError textbook_int8(const TensorView& tensor) {
  double squares = 0, squared_errors = 0, largest = 0;
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  for (int64_t row = 0; row < rows; ++row) {
    const auto weight = [&](int64_t col) {
      return static_cast<double>(load_high_precision(tensor.dtype, tensor.data, row * cols + col));
    };
    double amax = 0;
    for (int64_t col = 0; col < cols; ++col) amax = std::max(amax, std::abs(weight(col)));
    for (int64_t col = 0; col < cols; ++col) {
      const double error = std::nearbyint(weight(col) / amax * 127) * amax / 127 - weight(col);
      squares += weight(col) * weight(col);
      squared_errors += error * error;
      largest = std::max(largest, std::abs(error));
    }
  }
  return {rows * cols, std::sqrt(squared_errors / squares), largest};
}

TEST(QuantizationErrorTest, is_small_for_every_scheme_and_parameter) {
  const ModelDirectory directory = sample("checkpoints/step_02500");
  for (const char* name : {"int8_per_channel", "int8_per_tensor", "int4_per_group", "fp8_per_tensor",
                           "fp8_per_channel", "fp8_per_block"}) {
    const Scheme scheme = parse_scheme(name).value();
    for (const Profile profile : profiles_of(scheme.element, scheme.granularity)) {
      const std::string full = fmt::format("{}@{}", name, to_string(profile));
      const auto report = compare(*load(directory, full.c_str()), directory.checkpoint).value();
      for (const ParameterError& parameter : report.parameters) {
        EXPECT_LT(parameter.error.relative_rms, 0.2) << full << " " << parameter.name;
      }
    }
  }
}

TEST(QuantizationErrorTest, high_precision_weights_have_none) {
  const ModelDirectory directory = sample("checkpoints/step_02500");
  const auto report = compare(*load(directory, "none"), directory.checkpoint).value();
  int64_t elements = 0;
  for (const ParameterError& parameter : report.parameters) {
    EXPECT_EQ(parameter.error.relative_rms, 0) << parameter.name;
    EXPECT_EQ(parameter.error.largest, 0) << parameter.name;
    elements += parameter.error.elements;
  }
  EXPECT_EQ(elements, 525'696);
  EXPECT_EQ(report.quantized.elements, 0);
  EXPECT_EQ(report.quantized.relative_rms, 0);
}

TEST(QuantizationErrorTest, int8_per_channel_has_that_of_its_definition) {
  const ModelDirectory directory = sample("checkpoints/step_02500");
  const auto report = compare(*load(directory, "int8_per_channel"), directory.checkpoint);
  ASSERT_TRUE(report) << report.error().message;
  const char* module = "model.layers.1.self_attn.o_proj.weight";
  const QuantizationError expected = textbook_int8(directory.checkpoint.find(module)->view);
  const QuantizationError got = find(*report, module).error;
  EXPECT_EQ(got.elements, expected.elements);
  EXPECT_NEAR(got.relative_rms, expected.relative_rms, expected.relative_rms * 0.02);
  EXPECT_NEAR(got.largest, expected.largest, expected.largest * 0.02);
}

TEST(QuantizationErrorTest, fewer_bits_have_more_of_it_in_every_quantized_parameter) {
  const ModelDirectory directory = sample("checkpoints/step_01000");
  const auto int8 = compare(*load(directory, "int8_per_channel"), directory.checkpoint).value();
  const auto int4 = compare(*load(directory, "int4_per_group"), directory.checkpoint).value();
  for (size_t i = 0; i < int8.parameters.size(); ++i) {
    const auto& [name, scheme, fine] = int8.parameters[i];
    const QuantizationError& coarse = int4.parameters[i].error;
    if (scheme.quantizes()) {
      EXPECT_GT(fine.relative_rms, 0) << name;
      EXPECT_GT(coarse.relative_rms, 2 * fine.relative_rms) << name;
    } else {
      EXPECT_EQ(coarse.relative_rms, 0) << name;
    }
  }
  EXPECT_GT(int4.quantized.relative_rms, 2 * int8.quantized.relative_rms);
}

TEST(QuantizationErrorTest, other_weights_than_those_that_were_loaded_show) {
  const ModelDirectory directory = sample("checkpoints/step_02500");
  const auto model = load(directory, "int8_per_channel");
  const double own = compare(*model, directory.checkpoint)->quantized.relative_rms;
  EXPECT_LT(own, 0.02);
  EXPECT_GT(compare(*model, sample("checkpoints/step_00000").checkpoint)->quantized.relative_rms, 0.5);
}

TEST(QuantizationErrorTest, a_tensor_that_the_model_does_not_have_is_named) {
  const auto model = load(sample("checkpoints/step_02500"), "int8_per_channel");
  const std::filesystem::path file = testing::TempDir() + "/liveweight_quantization_error/model.safetensors";
  std::filesystem::create_directories(file.parent_path());
  const float one = 1;
  const TensorView view{DType::kF32, {1}, reinterpret_cast<const std::byte*>(&one), sizeof one};
  const std::pair<std::string, TensorView> tensors[] = {{"other.weight", view}};
  ASSERT_TRUE(write_safetensors(file, tensors));
  const auto unknown = compare(*model, Checkpoint::open(file.parent_path()).value());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kUnknownTensor);
  EXPECT_EQ(unknown.error().names, std::vector<std::string>{"other.weight"});
  ASSERT_TRUE(write_safetensors(file, {}));
  const auto missing = compare(*model, Checkpoint::open(file.parent_path()).value());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kMissingTensor);
}

TEST(QuantizationErrorTest, a_checkpoint_that_is_quantized_itself_cannot_be_compared_with) {
  const auto models = std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/models/quantized";
  if (!std::filesystem::exists(models)) GTEST_SKIP() << models << " is not there: no quantized checkpoint";
  const ModelDirectory directory =
      open_model_directory(std::filesystem::directory_iterator(models)->path()).value();
  LoadOptions options;
  options.quantization = directory.quantization;
  const auto model = load_model(directory, options).value();
  EXPECT_EQ(compare(*model, directory.checkpoint).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace liveweight
