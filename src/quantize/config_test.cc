// Every spelling of a quantization configuration: which case it is, and which scheme each module gets.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "liveweight/quantization_config.h"

namespace liveweight {
namespace {

constexpr const char* kQuery = "model.layers.0.self_attn.q_proj";
constexpr const char* kDown = "model.layers.1.mlp.down_proj";
constexpr const char* kExpert = "model.layers.0.mlp.experts.3.gate_proj";

QuantizationConfig parsed(const std::string& json) {
  const auto config = QuantizationConfig::parse(json);
  EXPECT_TRUE(config) << json << ": " << config.error().message;
  return config ? *config : QuantizationConfig();
}

std::string scheme(const QuantizationConfig& config, const std::string& module,
                   ModuleKind kind = ModuleKind::kLinear) {
  const auto found = config.scheme_for(module, kind);
  EXPECT_TRUE(found) << module;
  return found ? to_string(*found) : "";
}

void expect_refused(const std::string& json, const std::string& named) {
  const auto config = QuantizationConfig::parse(json);
  ASSERT_FALSE(config) << json;
  EXPECT_NE(config.error().message.find(named), std::string::npos) << config.error().message;
}

std::string torchao(const std::string& type) {
  return R"({"quant_method":"torchao","quant_type":{"default":)" + type + "}}";
}

std::string compressed(const std::string& weights) {
  return R"({"quant_method":"compressed-tensors","config_groups":{"group_0":{"targets":["Linear"],"weights":)" +
         weights + "}}}";
}

std::string by_name(const std::string& entries) {
  return torchao(R"({"_type":"ModuleFqnToConfig","_data":{"module_fqn_to_config":{)" + entries + "}}}");
}

constexpr const char* kInt8 = R"({"_type":"Int8WeightOnlyConfig"})";
constexpr const char* kInt4 = R"({"_type":"Int4WeightOnlyConfig","_data":{"group_size":32}})";
constexpr const char* kFloat8 = R"({"_type":"Float8WeightOnlyConfig"})";

TEST(QuantizationConfigTest, CasesAreToldFromTheConfiguration) {
  const std::string block = R"({"quant_method":"fp8","weight_block_size":[128,128])";
  const std::pair<std::string, QuantizationCase> kCases[] = {
      {R"({"linear":"fp8_per_block"})", QuantizationCase::kOnline},
      {block + "}", QuantizationCase::kOffline},
      {block + R"(,"is_checkpoint_fp8_serialized":false})", QuantizationCase::kOnline},
      {compressed(R"({"num_bits":8,"type":"int","strategy":"channel"})"), QuantizationCase::kOffline},
      {torchao(kInt8), QuantizationCase::kOnline},
      {R"({"quant_method":"torchao","is_checkpoint_torchao_serialized":true,"quant_type":{"default":)" +
           std::string(kInt8) + "}}",
       QuantizationCase::kOffline}};
  for (const auto& [json, expected] : kCases) EXPECT_EQ(parsed(json).quantization_case(), expected) << json;
  EXPECT_EQ(QuantizationConfig().quantization_case(), QuantizationCase::kNone);
  EXPECT_EQ(QuantizationConfig().method(), "none");
}

TEST(QuantizationConfigTest, OnlineRulesSelectByModule) {
  const auto config =
      parsed(R"({"linear":"fp8_per_block","moe":"int8_per_channel","ignore":["re:.*down_proj"],
    "targets":{"model.layers.0.self_attn.q_proj":"int4_per_group:64","lm_head":"fp8_per_channel"}})");
  EXPECT_EQ(scheme(config, kQuery), "int4_per_group:64");
  EXPECT_EQ(scheme(config, kDown), "none");
  EXPECT_EQ(scheme(config, "model.layers.1.self_attn.q_proj"), "fp8_per_block");
  EXPECT_EQ(scheme(config, kExpert, ModuleKind::kExpert), "int8_per_channel");
  EXPECT_EQ(scheme(config, "lm_head", ModuleKind::kHead), "fp8_per_channel");
  EXPECT_EQ(scheme(config, "model.embed_tokens", ModuleKind::kEmbedding), "none");
  EXPECT_EQ(scheme(parsed(R"({"linear":"fp8_per_block"})"), kExpert, ModuleKind::kExpert), "fp8_per_block");
  EXPECT_EQ(scheme(parsed(R"({"linear":null,"moe":"fp8_per_tensor"})"), kQuery), "none");
}

TEST(QuantizationConfigTest, TheFirstOfTheTargetsThatFitsDecides) {
  const auto config =
      parsed(R"({"targets":{"re:.*self_attn.*":"int8_per_channel","re:.*":"fp8_per_block"}})");
  EXPECT_EQ(scheme(config, kQuery), "int8_per_channel");
  EXPECT_EQ(scheme(config, kDown), "fp8_per_block");
  EXPECT_EQ(scheme(config, "model.norm", ModuleKind::kOther), "none") << "there is nothing to quantize in it";
}

TEST(QuantizationConfigTest, Fp8BlocksAndTheirExceptions) {
  for (const char* field : {"modules_to_not_convert", "ignored_layers"}) {
    const auto config = parsed(R"({"quant_method":"fp8","weight_block_size":[64,64],")" + std::string(field) +
                               R"(":["q_proj"]})");
    EXPECT_EQ(config.method(), "fp8");
    EXPECT_EQ(scheme(config, kQuery), "none");
    EXPECT_EQ(config.scheme_for(kDown, ModuleKind::kLinear)->size, 64);
  }
}

TEST(QuantizationConfigTest, CompressedTensorsStrategies) {
  const std::pair<const char*, const char*> kSchemes[] = {
      {R"({"num_bits":8,"type":"int","strategy":"tensor"})", "int8_per_tensor"},
      {R"({"num_bits":8,"type":"int","strategy":"channel"})", "int8_per_channel@compressed-tensors"},
      {R"({"num_bits":8,"type":"float","strategy":"channel"})", "fp8_per_channel@compressed-tensors"},
      {R"({"num_bits":8,"type":"float","strategy":"tensor"})", "fp8_per_tensor@compressed-tensors"},
      {R"({"num_bits":8,"type":"float","strategy":"block","block_structure":[128,128]})",
       "fp8_per_block@compressed-tensors"},
      {R"({"num_bits":4,"type":"int","strategy":"group","group_size":128})", "int4_per_group:128"},
      {R"({"num_bits":4,"type":"int","strategy":"group","group_size":32,"symmetric":false})",
       "int4_per_group@compressed-tensors-asymmetric"}};
  for (const auto& [weights, expected] : kSchemes)
    EXPECT_EQ(scheme(parsed(compressed(weights)), kQuery), expected) << weights;
}

TEST(QuantizationConfigTest, LinearFitsEveryMatrixButEmbeddingsAndIsWhatAGroupWithoutTargetsMeans) {
  const std::string weights = R"("weights":{"num_bits":8,"type":"int","strategy":"tensor"})";
  for (const std::string targets : {"", R"("targets":["Linear"],)"}) {
    const auto config = parsed(R"({"quant_method":"compressed-tensors","config_groups":{"group_0":{)" +
                               targets + weights + "}}}");
    EXPECT_EQ(scheme(config, kQuery), "int8_per_tensor");
    EXPECT_EQ(scheme(config, kExpert, ModuleKind::kExpert), "int8_per_tensor");
    EXPECT_EQ(scheme(config, "lm_head", ModuleKind::kHead), "int8_per_tensor");
    EXPECT_EQ(scheme(config, "model.embed_tokens", ModuleKind::kEmbedding), "none");
  }
}

TEST(QuantizationConfigTest, TorchaoTypes) {
  const std::pair<const char*, const char*> kSchemes[] = {
      {kInt8, "int8_per_channel"},
      {kInt4, "int4_per_group@torchao"},
      {kFloat8, "fp8_per_channel@torchao"},
      {R"({"_type":"Float8DynamicActivationFloat8WeightConfig","_data":{"granularity":[{"_type":"PerTensor"}]}})",
       "fp8_per_tensor@torchao"}};
  for (const auto& [type, expected] : kSchemes)
    EXPECT_EQ(scheme(parsed(torchao(type)), kQuery), expected) << type;
}

TEST(QuantizationConfigTest, TorchaoPrefersParametersToModulesAndNamesToPatterns) {
  const std::string query = kQuery, int8 = kInt8, int4 = kInt4, fp8 = kFloat8;
  const std::string fallback = R"("_default":)" + fp8;
  auto entry = [](const std::string& name, const std::string& config) {
    return "\"" + name + "\":" + config + ",";
  };
  const auto of = [&](const std::string& entries) {
    return scheme(parsed(by_name(entries + fallback)), kQuery);
  };
  EXPECT_EQ(of(""), "fp8_per_channel@torchao");
  EXPECT_EQ(of(entry(query, "null")), "none");
  EXPECT_EQ(of(entry(query, int4) + entry(query + ".weight", int8)), "int8_per_channel");
  EXPECT_EQ(of(entry("re:.*", int4) + entry(query, int8)), "int8_per_channel");
  EXPECT_EQ(of(entry("re:.*q_proj", int4) + entry("re:.*q_proj\\\\.weight", int8)), "int8_per_channel");
  EXPECT_EQ(of(entry("re:.*self_attn.*", int8) + entry("re:.*", int4)), "int8_per_channel");
}

TEST(QuantizationConfigTest, TorchaoPatternsFitWholeNames) {
  const std::string entries = R"("re:model\\.layers\\.1":null,"_default":)" + std::string(kInt8);
  EXPECT_EQ(scheme(parsed(by_name(entries)), "model.layers.11.mlp.up_proj"), "int8_per_channel");
}

TEST(QuantizationConfigTest, UnknownMethodsAreRefusedByName) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "modelopt", ""}) {
    const std::string json = R"({"quant_method":")" + std::string(method) + "\"}";
    expect_refused(json, "quant_method: " + std::string(method));
    EXPECT_EQ(QuantizationConfig::parse(json).error().code, ErrorCode::kUnsupported);
  }
}

TEST(QuantizationConfigTest, BadConfigurationsAreRefusedByField) {
  const std::pair<std::string, const char*> kBad[] = {
      {"", "JSON"},
      {"[]", "JSON"},
      {"{", "JSON"},
      {std::string(1'000'000, '['), "deep"},
      {R"({"quant_method":1})", "quant_method"},
      {R"({"linear":"int3"})", "linear"},
      {R"({"linear":8})", "linear"},
      {R"({"moe":"int3"})", "moe"},
      {R"({"ignore":"q_proj"})", "ignore"},
      {R"({"ignore":[1]})", "ignore"},
      {R"json({"ignore":["re:("]})json", "re"},
      {R"({"targets":[]})", "targets"},
      {R"({"targets":{"a":"int3"}})", "targets.a"},
      {R"({"liner":"fp8_per_block"})", "liner"},
      {R"({"quant_method":"fp8"})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":[128,64]})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":[0,0]})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":[1.5,1.5]})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":128})", "weight_block_size"},
      {R"({"quant_method":"fp8","is_checkpoint_fp8_serialized":"no"})", "is_checkpoint_fp8_serialized"},
      {R"({"quant_method":"compressed-tensors"})", "config_groups"},
      {R"({"quant_method":"compressed-tensors","config_groups":{"g":1}})", "config_groups.g"},
      {compressed(R"({"num_bits":3,"type":"int","strategy":"channel"})"), "3 bits"},
      {compressed(R"({"num_bits":8,"type":"int","strategy":"spiral"})"), "strategy"},
      {compressed(R"({"num_bits":4,"type":"int","strategy":"group"})"), "group_size"},
      {compressed(R"({"num_bits":4,"type":"int","strategy":"group","group_size":-1})"), "group_size"},
      {compressed("null"), "weights"},
      {R"({"quant_method":"torchao"})", "quant_type"},
      {torchao(R"({"_type":"UIntXWeightOnlyConfig"})"), "UIntXWeightOnlyConfig"},
      {torchao(R"({"_type":"Int4WeightOnlyConfig","_data":{"group_size":0}})"), "group_size"},
      {torchao(R"({"_type":"FqnToConfig","_data":{}})"), "_data"}};
  for (const auto& [json, named] : kBad) expect_refused(json, named);
}

TEST(QuantizationConfigTest, NamesFitWholeComponents) {
  const auto config = parsed(R"({"linear":"int8_per_channel","moe":"fp8_per_channel",
      "ignore":["model.layers.1","o_proj","re:.*mlp.up"]})");
  EXPECT_EQ(scheme(config, "model.layers.1.mlp.down_proj"), "none");
  EXPECT_EQ(scheme(config, "model.layers.1"), "none");
  EXPECT_EQ(scheme(config, "model.layers.10.mlp.down_proj"), "int8_per_channel");
  EXPECT_EQ(scheme(config, "model.layers.0.self_attn.o_proj"), "none");
  EXPECT_EQ(scheme(config, "model.layers.0.self_attn.no_proj"), "int8_per_channel");
  EXPECT_EQ(scheme(config, "model.layers.0.mlp.up_proj"), "none");
  EXPECT_EQ(scheme(config, kExpert, ModuleKind::kExpert), "fp8_per_channel");
  EXPECT_EQ(scheme(config, "lm_head", ModuleKind::kHead), "none") << "only where it is named";
  EXPECT_EQ(scheme(config, "model.norm", ModuleKind::kOther), "none");
}

TEST(QuantizationConfigTest, SizesAndFormsThatNoSchemeHasAreRefused) {
  for (const char* size : {"0", "-1", "1048577", "1.5", "\"32\""}) {
    expect_refused(
        compressed(fmt::format(R"({{"num_bits":4,"type":"int","strategy":"group","group_size":{}}})", size)),
        "group_size");
  }
  expect_refused(compressed(R"({"num_bits":8,"type":"float","strategy":"block","block_structure":[128,64]})"),
                 "two equal sizes");
  expect_refused(compressed(R"({"num_bits":8,"type":"int","strategy":"channel","symmetric":false})"),
                 "only int4 may be asymmetric");
  EXPECT_EQ(
      scheme(parsed(compressed(
                 R"({"num_bits":4,"type":"int","strategy":"group","group_size":64,"symmetric":false})")),
             kDown),
      "int4_per_group:64@compressed-tensors-asymmetric");
  EXPECT_EQ(
      scheme(parsed(R"({"quant_method":"fp8","weight_block_size":[128,128],"ignored_layers":["down_proj"]})"),
             kDown),
      "none");
}

TEST(SchemeTest, NamesAreWholeAndOfWhatThereIs) {
  for (const char* name :
       {"int4_per_group:0", "int4_per_group:32x", "int4_per_group:1048577",
        "int4_per_group:", "int4_per_group:-32", "int8_per_channel:32", "int8_per_channel@nemo",
        "none@torchao", "fp8_per_block@none", "mxfp8", "nothing"}) {
    EXPECT_FALSE(parse_scheme(name)) << name;
  }
  for (const char* name : {"none", "int8_per_channel", "int8_per_channel@vllm", "int4_per_group:48",
                           "int4_per_group:1048576@torchao", "fp8_per_block@nemo"}) {
    EXPECT_EQ(to_string(parse_scheme(name).value()), name);
  }
}

}  // namespace
}  // namespace liveweight
