// Checkpoints that are quantized already, cut among ranks.
#include <fmt/format.h>

#include "live/export_fixture.h"

namespace liveweight {
namespace {

class OfflineRanks : public ExportFixture {
 protected:
  static Result<std::unique_ptr<LiveModel>> load_rank(const std::filesystem::path& directory,
                                                      const std::optional<QuantizationConfig>& quantization,
                                                      TensorParallel group) {
    LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
    LoadOptions options;
    options.tensor_parallel = group;
    LW_ASSIGN(options.quantization, choose_quantization(opened, quantization));
    return load_model(opened, options);
  }

  // Of each rank; false where one of them cannot hold its part, which is refused by name.
  bool expect_same_ranks(const std::filesystem::path& source, const QuantizationConfig& config,
                         ExportFormat format, int64_t ranks) const {
    const std::string where =
        fmt::format("{} as {} among {}", source.filename().string(), to_string(format), ranks);
    const auto out = fresh();
    const auto report = export_to(source, out, {config, {}, format});
    if (!report) return false;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const auto online = load_rank(source, config, {ranks, rank});
      EXPECT_TRUE(online) << where << ": " << online.error().message;
      const auto offline = load_rank(out, std::nullopt, {ranks, rank});
      if (!offline) {
        EXPECT_EQ(offline.error().code, ErrorCode::kUnsupported) << where << ": " << offline.error().message;
        EXPECT_FALSE(offline.error().names.empty());
        return false;
      }
      expect_same_weights(**online, **offline, where);
      if (HasFatalFailure()) return false;
    }
    return true;
  }
};

TEST_F(OfflineRanks, HoldWhatTheyWouldHoldHadTheyQuantizedIt) {
  const std::pair<const char*, ExportFormat> cases[] = {
      {"int8_per_channel@torchao-intx", ExportFormat::kTorchao},
      {"int8_per_channel@compressed-tensors", ExportFormat::kCompressedTensors},
      {"int8_per_tensor", ExportFormat::kCompressedTensors},
      {"int4_per_group:8", ExportFormat::kCompressedTensors},
      {"int4_per_group:16@compressed-tensors-asymmetric", ExportFormat::kCompressedTensors},
      {"int4_per_group:4@torchao", ExportFormat::kTorchao},
      {"int4_per_group:4@torchao-intx", ExportFormat::kTorchao},
      {"fp8_per_tensor", ExportFormat::kCompressedTensors},
      {"fp8_per_channel@torchao", ExportFormat::kTorchao},
      {"fp8_per_block", ExportFormat::kFp8},
      {"fp8_per_block@compressed-tensors", ExportFormat::kCompressedTensors}};
  for (const auto& [name, format] : cases) {
    SCOPED_TRACE(name);
    int64_t held = 0;
    for (const char* model : {"stories260k-bf16", "tiny/phi3", "tiny/qwen3-moe-mixed"}) {
      for (const int64_t ranks : {2, 4})
        held += expect_same_ranks(models() / model, scheme(name), format, ranks);
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(held, 0) << name;
  }
}

// Eight rows share an element of packed zero points, and a rank's first row need not be the first of them.
TEST_F(OfflineRanks, TakeTheirZeroPointsFromTheMiddleOfAPackedElement) {
  const auto mixed = QuantizationConfig::parse(
      R"({"linear": "int4_per_group:16@compressed-tensors-asymmetric", "ignore": ["re:.*down_proj"]})");
  ASSERT_TRUE(mixed) << mixed.error().message;
  EXPECT_TRUE(expect_same_ranks(models() / "tiny/phi3", *mixed, ExportFormat::kCompressedTensors, 4));
}

}  // namespace
}  // namespace liveweight
