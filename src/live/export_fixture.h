// A folder for what a test exports, and the means to compare live models and to break checkpoints.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "liveweight/checkpoint.h"
#include "liveweight/export.h"
#include "liveweight/live_model.h"
#include "quantize/quantize.h"

namespace liveweight {

class ExportFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(models())) {
      GTEST_SKIP() << models() << " is not there: exports of real checkpoints are not tested";
    }
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("liveweight-" + std::string(test->name()) + "-" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  static std::filesystem::path models() {
    return std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/models";
  }

  static QuantizationConfig scheme(const std::string& name) {
    return QuantizationConfig::uniform(parse_scheme(name).value());
  }

  // A path in the folder where nothing is.
  std::filesystem::path fresh(const std::string& name = "out") const {
    std::filesystem::remove_all(folder_ / name);
    return folder_ / name;
  }

  static Result<ExportReport> export_to(const std::filesystem::path& source, const std::filesystem::path& out,
                                        const ExportOptions& options) {
    LW_ASSIGN(const ModelDirectory opened, open_model_directory(source));
    return export_quantized(opened, out, options);
  }

  // A directory's weights: quantized while loading, or as they are.
  static Result<std::unique_ptr<LiveModel>> load(const std::filesystem::path& directory,
                                                 const std::optional<QuantizationConfig>& quantization) {
    LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
    LoadOptions options;
    LW_ASSIGN(options.quantization, choose_quantization(opened, quantization));
    return load_model(opened, options);
  }

  static std::vector<float> dequantized(const LiveModel& model, const Snapshot& snapshot, int64_t parameter) {
    const KernelFormat& format = *model.plan().parameters()[parameter].format;
    std::vector<float> all(static_cast<size_t>(format.matrices * format.rows * format.cols));
    for (int64_t row = 0; row < format.matrices * format.rows; ++row) {
      dequantize_row(format, snapshot.table().slots[parameter], row / format.rows, row % format.rows,
                     all.data() + row * format.cols);
    }
    return all;
  }

  static void expect_same_weights(const LiveModel& a, const LiveModel& b, const std::string& where) {
    const Snapshot in_a = a.pin().value(), in_b = b.pin().value();
    ASSERT_EQ(a.plan().parameters().size(), b.plan().parameters().size()) << where;
    for (size_t p = 0; p < a.plan().parameters().size(); ++p) {
      const std::vector<float> of_a = dequantized(a, in_a, static_cast<int64_t>(p));
      const std::vector<float> of_b = dequantized(b, in_b, static_cast<int64_t>(p));
      ASSERT_EQ(of_a.size(), of_b.size()) << where;
      ASSERT_EQ(std::memcmp(of_a.data(), of_b.data(), of_a.size() * sizeof(float)), 0)
          << where << " " << a.plan().parameters()[p].name;
    }
  }

  using Tensors = std::map<std::string, std::pair<TensorView, std::vector<std::byte>>>;

  // Rewrites the one safetensors file of a directory with its tensors changed.
  static void rewrite(const std::filesystem::path& directory, const std::function<void(Tensors&)>& change) {
    const Checkpoint checkpoint = Checkpoint::open(directory).value();
    Tensors tensors;
    for (const CheckpointTensor& tensor : checkpoint.tensors()) {
      tensors[std::string(tensor.name)] = {tensor.view,
                                           {tensor.view.data, tensor.view.data + tensor.view.bytes}};
    }
    change(tensors);
    std::vector<std::pair<std::string, TensorView>> views;
    for (auto& [name, tensor] : tensors) {
      tensor.first.data = tensor.second.data();
      tensor.first.bytes = tensor.second.size();
      views.emplace_back(name, tensor.first);
    }
    ASSERT_TRUE(write_safetensors(directory / "model.safetensors", views, checkpoint.metadata()));
  }

  std::filesystem::path folder_;
};

}  // namespace liveweight
