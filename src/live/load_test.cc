// Real checkpoints through the whole way: directory, plan, quantize, slots, commit, reload.
#include "liveweight/load.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "liveweight/digest.h"

namespace liveweight {
namespace {

const std::filesystem::path kModels = std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/models";

constexpr const char* kSchemes[] = {
    "none",           "int8_per_channel", "int4_per_group", "int4_per_group:128",
    "fp8_per_tensor", "fp8_per_channel",  "fp8_per_block"};
constexpr CommitMode kModes[] = {CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace};

class LoadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModels))
      GTEST_SKIP() << kModels << " is not there: real checkpoints are not tested";
  }

  static std::unique_ptr<LiveModel> load(const std::filesystem::path& directory, const LoadOptions& options) {
    auto opened = open_model_directory(directory, options.names);
    EXPECT_TRUE(opened) << opened.error().message;
    auto model = load_model(*opened, options);
    EXPECT_TRUE(model) << model.error().message;
    return std::move(*model);
  }

  static LoadOptions options_of(const char* scheme, CommitMode mode = CommitMode::kFlip) {
    LoadOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    options.mode = mode;
    return options;
  }

  static Result<UpdateReport> reload_from(LiveModel& model, const std::filesystem::path& directory) {
    auto checkpoint = Checkpoint::open(directory);
    if (!checkpoint) return tl::unexpected(checkpoint.error());
    return reload(model, *checkpoint);
  }

  static std::vector<const std::byte*> addresses_of(const LiveModel& model) {
    std::vector<const std::byte*> addresses;
    for (size_t p = 0; p < model.plan().parameters().size(); ++p) {
      for (const int slot : {0, 1}) addresses.push_back(model.slot_address(p, slot));
    }
    return addresses;
  }
};

TEST_F(LoadTest, WarmReloadGivesWhatAColdLoadGives) {
  for (const char* scheme : kSchemes) {
    for (const CommitMode mode : kModes) {
      const auto model = load(kModels / "stories260k-bf16", options_of(scheme, mode));
      const auto addresses = addresses_of(*model);
      for (const char* step :
           {"trajectory/step_000", "trajectory/step_001", "finetune/good", "finetune/renamed"}) {
        const auto report = reload_from(*model, kModels / step);
        ASSERT_TRUE(report) << report.error().message;
        const auto cold = load(kModels / step, options_of(scheme));
        EXPECT_EQ(digest_of(*model)->model, digest_of(*cold)->model) << scheme << " " << step;
        EXPECT_EQ(addresses_of(*model), addresses);
        EXPECT_LE(report->extra_peak_bytes, report->predicted_extra_peak_bytes);
      }
    }
  }
}

TEST_F(LoadTest, ABadCheckpointChangesNothingAndTheNextGoodOneLoads) {
  const std::pair<const char*, ErrorCode> cases[] = {
      {"bad-nan", ErrorCode::kNonFinite},           {"bad-inf", ErrorCode::kNonFinite},
      {"bad-shape", ErrorCode::kWrongShape},        {"bad-missing", ErrorCode::kMissingTensor},
      {"bad-extra", ErrorCode::kUnknownTensor},     {"bad-dtype", ErrorCode::kWrongDtype},
      {"bad-truncated", ErrorCode::kBadCheckpoint}, {"not-there", ErrorCode::kIo}};
  for (const char* scheme : kSchemes) {
    for (const CommitMode mode : kModes) {
      const auto model = load(kModels / "stories260k-bf16", options_of(scheme, mode));
      const Digest before = digest_of(*model)->model;
      const Version version = model->version();
      for (const auto& [name, code] : cases) {
        const auto report = reload_from(*model, kModels / "finetune" / name);
        ASSERT_FALSE(report) << name;
        EXPECT_EQ(report.error().code, code) << name << ": " << report.error().message;
        EXPECT_FALSE(report.error().names.empty()) << name;
        EXPECT_EQ(digest_of(*model)->model, before) << scheme << " " << name;
        EXPECT_EQ(model->version().number, version.number);
      }
      EXPECT_TRUE(reload_from(*model, kModels / "finetune/good"));
    }
  }
}

TEST_F(LoadTest, RollbackBringsTheVersionBeforeBack) {
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy}) {
    const auto model = load(kModels / "trajectory/step_000", options_of("int8_per_channel", mode));
    const Digest first = digest_of(*model)->model;
    EXPECT_FALSE(model->rollback());
    ASSERT_TRUE(reload_from(*model, kModels / "trajectory/step_001"));
    const Digest second = digest_of(*model)->model;
    ASSERT_TRUE(model->rollback());
    EXPECT_EQ(digest_of(*model)->model, first);
    EXPECT_EQ(model->version().number, 3u);
    ASSERT_TRUE(model->rollback());
    EXPECT_EQ(digest_of(*model)->model, second);
    EXPECT_FALSE(reload_from(*model, kModels / "finetune/bad-nan"));
    EXPECT_FALSE(model->rollback()) << "the failed update overwrote the version before";
    EXPECT_EQ(digest_of(*model)->model, second);
  }
}

TEST_F(LoadTest, EveryTinyArchitectureLoadsUnderEveryScheme) {
  for (const auto& entry : std::filesystem::directory_iterator(kModels / "tiny")) {
    if (!entry.is_directory()) continue;
    for (const char* scheme : kSchemes) load(entry.path(), options_of(scheme));
  }
}

TEST_F(LoadTest, OfflineQuantizedCheckpointsLoadAndReloadAsTheyAre) {
  for (const auto& entry : std::filesystem::directory_iterator(kModels / "quantized")) {
    if (!entry.is_directory()) continue;
    auto opened = open_model_directory(entry.path());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_FALSE(
        choose_quantization(*opened, QuantizationConfig::uniform(parse_scheme("int8_per_channel").value())));
    LoadOptions options;
    options.quantization = choose_quantization(*opened, std::nullopt).value();
    const auto model = load_model(*opened, options);
    ASSERT_TRUE(model) << model.error().message;
    const Digest before = digest_of(**model)->model;
    ASSERT_TRUE(reload(**model, opened->checkpoint)) << entry.path();
    EXPECT_EQ(digest_of(**model)->model, before);
    EXPECT_FALSE(reload_from(**model, kModels / "tiny/llama")) << "high precision into an offline model";
  }
}

}  // namespace
}  // namespace liveweight
