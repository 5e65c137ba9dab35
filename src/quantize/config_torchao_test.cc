// torchao's configurations, as transformers writes them into config.json.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "liveweight/quantization_config.h"

namespace liveweight {
namespace {

std::string config_of(const std::string& type, const std::string& data, const std::string& more = "") {
  return fmt::format(
      R"({{"quant_method": "torchao", "quant_type": {{"default": {{"_type": "{}", "_version": 2, )"
      R"("_data": {}}}}}{}}})",
      type, data, more);
}

std::string scheme_text(const std::string& config, bool serialized,
                        const std::string& module = "model.x_proj") {
  const auto parsed = QuantizationConfig::parse(config, serialized);
  if (!parsed) return std::string(to_string(parsed.error().code));
  return to_string(parsed->scheme_for(module, ModuleKind::kLinear).value());
}

constexpr const char* kPerTensor = R"({"granularity": {"_type": "PerTensor", "_data": {}}})";
constexpr const char* kIntx4 = R"({"weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
    "granularity": {"_type": "PerGroup", "_data": {"group_size": 16}},
    "mapping_type": {"_type": "MappingType", "_data": "ASYMMETRIC"}})";
constexpr const char* kTilePacked = R"({"group_size": 64,
    "int4_packing_format": {"_type": "Int4PackingFormat", "_data": "TILE_PACKED_TO_4D"}})";

TEST(TorchaoConfigTest, the_flag_or_else_the_files_say_whether_weights_are_quantized) {
  const auto quantization_case = [](const std::string& more, bool serialized) {
    const auto config = QuantizationConfig::parse(config_of("Int8WeightOnlyConfig", "{}", more), serialized);
    return config.value().quantization_case();
  };
  EXPECT_EQ(quantization_case("", false), QuantizationCase::kOnline);
  EXPECT_EQ(quantization_case("", true), QuantizationCase::kOffline);
  EXPECT_EQ(quantization_case(R"(, "is_checkpoint_torchao_serialized": true)", false),
            QuantizationCase::kOffline);
  EXPECT_EQ(quantization_case(R"(, "is_checkpoint_torchao_serialized": false)", true),
            QuantizationCase::kOnline);
}

TEST(TorchaoConfigTest, classes_become_schemes) {
  EXPECT_EQ(scheme_text(config_of("Int8WeightOnlyConfig", "{}"), true), "int8_per_channel");
  EXPECT_EQ(scheme_text(config_of("Int8WeightOnlyConfig", kPerTensor), true), "int8_per_tensor");
  EXPECT_EQ(scheme_text(config_of("Float8WeightOnlyConfig", kPerTensor), true), "fp8_per_tensor@torchao");
  EXPECT_EQ(scheme_text(config_of("Int4WeightOnlyConfig", R"({"group_size": 64})"), true),
            "int4_per_group:64@torchao");
  EXPECT_EQ(scheme_text(config_of("IntxWeightOnlyConfig", kIntx4), true), "int4_per_group:16@torchao-intx");
}

TEST(TorchaoConfigTest, what_is_not_read_is_refused) {
  const std::string unsupported(to_string(ErrorCode::kUnsupported));
  EXPECT_EQ(scheme_text(config_of("Int8WeightOnlyConfig", kPerTensor), false), unsupported);
  EXPECT_EQ(scheme_text(config_of("IntxWeightOnlyConfig", kIntx4), false), unsupported);
  EXPECT_EQ(scheme_text(config_of("Int4WeightOnlyConfig", kTilePacked), true), unsupported);
  EXPECT_EQ(scheme_text(config_of("Int8WeightOnlyConfig", R"({"group_size": 32})"), true), unsupported);
  EXPECT_EQ(scheme_text(config_of("IntxWeightOnlyConfig", "{}"), true), unsupported);
  EXPECT_EQ(scheme_text(config_of("SomethingConfig", "{}"), true), unsupported);
}

TEST(TorchaoConfigTest, odd_values_are_errors_and_nothing_worse) {
  for (const char* data : {"[]", "null", "7", R"({"granularity": 7})", R"({"granularity": []})",
                           R"({"granularity": {"_type": 3, "_data": []}})",
                           R"({"group_size": "x", "weight_dtype": {"_data": 4}})"}) {
    for (const char* type : {"Int8WeightOnlyConfig", "Int4WeightOnlyConfig", "IntxWeightOnlyConfig",
                             "Float8WeightOnlyConfig", "FqnToConfig"}) {
      for (const bool serialized : {false, true}) {
        EXPECT_FALSE(scheme_text(config_of(type, data), serialized).empty()) << type << " " << data;
      }
    }
  }
}

TEST(TorchaoConfigTest, modules_by_name_win_over_the_default) {
  const std::string config = config_of(
      "FqnToConfig", R"({"fqn_to_config": {"model.a_proj": {"_type": "Int8WeightOnlyConfig", "_data": {}},
          "re:model.b.*": {"_type": "Float8WeightOnlyConfig", "_data": {}}, "_default": null}})");
  EXPECT_EQ(scheme_text(config, true, "model.a_proj"), "int8_per_channel");
  EXPECT_EQ(scheme_text(config, true, "model.b_proj"), "fp8_per_channel@torchao");
  EXPECT_EQ(scheme_text(config, true, "model.c_proj"), "none");
}

TEST(TorchaoConfigTest, fp8_by_block_is_of_blocks_of_128_and_not_of_rows) {
  const char* by_block = R"({"granularity": [{"_type": "PerBlock", "_data": {"block_size": [1, 128]}},
                                             {"_type": "PerBlock", "_data": {"block_size": [128, 128]}}]})";
  const auto config = QuantizationConfig::parse(config_of("Float8WeightOnlyConfig", by_block), true);
  const Scheme scheme = config.value().scheme_for("model.x_proj", ModuleKind::kLinear).value();
  EXPECT_EQ(scheme.granularity, Granularity::kBlock);
  EXPECT_EQ(scheme.size, 128);
}

TEST(TorchaoConfigTest, how_int4_is_packed_does_not_matter_where_weights_are_quantized_online) {
  EXPECT_EQ(scheme_text(config_of("Int4WeightOnlyConfig", kTilePacked), false), "int4_per_group:64@torchao");
}

TEST(TorchaoConfigTest, of_the_fp8_dtypes_only_e4m3_is_read) {
  const auto of_dtype = [](const std::string& name) {
    const std::string data =
        fmt::format(R"({{"weight_dtype": {{"_type": "torch.dtype", "_data": "{}"}}}})", name);
    return scheme_text(config_of("Float8WeightOnlyConfig", data), true);
  };
  EXPECT_EQ(of_dtype("float8_e4m3fn"), "fp8_per_channel@torchao");
  EXPECT_EQ(of_dtype("float8_e5m2"), to_string(ErrorCode::kUnsupported));
}

}  // namespace
}  // namespace liveweight
