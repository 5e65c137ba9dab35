// config.json in both spellings, and each bad field refused by its name.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "liveweight/model.h"

namespace liveweight {
namespace {

using Json = nlohmann::json;

Json small_llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 64},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 128}};
}

Json small_moe() {
  Json json = small_llama();
  json["architectures"] = {"Qwen3MoeForCausalLM"};
  json.update({{"num_experts", 4}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 16}});
  return json;
}

void expect_refused(const Json& json, const std::string& named) {
  const auto config = parse_model_config(json.dump());
  ASSERT_FALSE(config) << json;
  EXPECT_NE(config.error().message.find(named), std::string::npos) << config.error().message;
}

TEST(ConfigTest, BothSpellingsOfTransformersGiveTheSameConfiguration) {
  Json four = small_llama(), five = small_llama();
  const Json scaling = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32},
                        {"rope_type", "llama3"}};
  four.update({{"torch_dtype", "float16"}, {"rope_theta", 500000.0}, {"rope_scaling", scaling}});
  five.update({{"dtype", "float16"}, {"rope_parameters", scaling}});
  five["rope_parameters"]["rope_theta"] = 500000.0;
  for (const Json& json : {four, five}) {
    const auto config = parse_model_config(json.dump());
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->dtype, DType::kF16);
    EXPECT_EQ(config->rope.type, RopeParameters::Type::kLlama3);
    EXPECT_EQ(config->rope.theta, 500000.0);
    EXPECT_EQ(config->rope.factor, 8.0);
    EXPECT_EQ(config->rope.original_max_position, 32);
    EXPECT_EQ(config->head_dim, 8);
  }
}

TEST(ConfigTest, ACountThatIsNoPositiveIntegerIsRefusedByName) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    const Json bad[] = {0, -1, 1.5, 2.0, "8", Json::array({8}), Json::object(), true, UINT64_MAX, 1e300};
    for (const Json& value : bad) {
      Json json = small_llama();
      json[field] = value;
      expect_refused(json, field);
    }
  }
}

TEST(ConfigTest, ADimensionThatIsMissingIsRefusedByName) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    Json json = small_llama();
    json.erase(field);
    expect_refused(json, field);
  }
}

TEST(ConfigTest, ADimensionThatIsTooLargeIsRefusedByName) {
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "head_dim"}) {
    Json json = small_llama();
    json[field] = int64_t{1} << 40;
    expect_refused(json, field);
  }
}

TEST(ConfigTest, FieldsThatContradictEachOtherAreRefusedByName) {
  const std::tuple<const char*, Json> kBad[] = {{"num_key_value_heads", 3},
                                                {"num_key_value_heads", 8},
                                                {"head_dim", 7},
                                                {"dtype", "int8"},
                                                {"torch_dtype", 16},
                                                {"hidden_act", "gelu"},
                                                {"rms_norm_eps", -1.0},
                                                {"rms_norm_eps", "small"},
                                                {"rope_theta", 0},
                                                {"rope_theta", -10000.0},
                                                {"partial_rotary_factor", 2.0},
                                                {"partial_rotary_factor", -0.5},
                                                {"tie_word_embeddings", "yes"},
                                                {"eos_token_id", -1},
                                                {"eos_token_id", "</s>"},
                                                {"bos_token_id", 1.5},
                                                {"rope_scaling", 8},
                                                {"rope_parameters", Json::array()}};
  for (const auto& [field, value] : kBad) {
    Json json = small_llama();
    json[field] = value;
    expect_refused(json, field);
  }
}

TEST(ConfigTest, HeadsThatDoNotDivideTheHiddenSizeAreRefusedUnlessHeadDimIsGiven) {
  Json json = small_llama();
  json["num_attention_heads"] = 6;
  expect_refused(json, "num_attention_heads");
  json["head_dim"] = 8;
  EXPECT_TRUE(parse_model_config(json.dump()));
}

TEST(ConfigTest, BadRopeParametersAreRefusedByName) {
  const std::tuple<const char*, Json> kBad[] = {
      {"rope_type", "spiral"}, {"rope_theta", -1},        {"factor", 0},
      {"factor", "8"},         {"high_freq_factor", 0.5}, {"original_max_position_embeddings", 0}};
  for (const auto& [field, value] : kBad) {
    Json json = small_llama();
    json["rope_parameters"] = {{"rope_type", "llama3"}, {"rope_theta", 10000.0}, {"factor", 8.0}};
    json["rope_parameters"][field] = value;
    expect_refused(json, field);
  }
}

TEST(ConfigTest, APartOfTheHeadThatIsNoPartIsRefused) {
  for (const double factor : {0.0, -1.0, 1.5, 1e300, 1e-300}) {
    Json json = small_llama();
    json["partial_rotary_factor"] = factor;
    expect_refused(json, "partial_rotary_factor");
  }
}

TEST(ConfigTest, BadExpertsAreRefusedByName) {
  ASSERT_TRUE(parse_model_config(small_moe().dump()));
  const std::tuple<const char*, Json> kBad[] = {{"num_experts", 0},
                                                {"num_experts", "4"},
                                                {"num_experts", 1 << 30},
                                                {"num_experts_per_tok", 5},
                                                {"num_experts_per_tok", 0},
                                                {"moe_intermediate_size", 0},
                                                {"moe_intermediate_size", int64_t{1} << 40},
                                                {"decoder_sparse_step", 0},
                                                {"mlp_only_layers", 1},
                                                {"mlp_only_layers", {-1}}};
  for (const auto& [field, value] : kBad) {
    Json json = small_moe();
    json[field] = value;
    expect_refused(json, field);
  }
}

TEST(ConfigTest, MoreExpertsThanAnyModelHasAreRefusedRatherThanDescribed) {
  Json json = small_moe();
  json["num_experts"] = 65536;
  json["num_hidden_layers"] = 10000;
  expect_refused(json, "num_experts");
}

TEST(ConfigTest, TheQuantizationConfigurationKeepsItsOrder) {
  std::string text = small_llama().dump();
  text.back() = ',';
  const std::string quantization = R"({"targets":{"z":"none","a":"none"}})";
  const auto config = parse_model_config(text + "\"quantization_config\":" + quantization + "}");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->quantization_config, quantization);
}

TEST(ConfigTest, WhatIsNoConfigurationIsRefused) {
  for (const std::string& text : {std::string(), std::string("["), std::string("[]"), std::string("\xff"),
                                  std::string(1'000'000, '['), std::string("null")}) {
    const auto config = parse_model_config(text);
    ASSERT_FALSE(config);
    EXPECT_NE(config.error().message.find("config.json"), std::string::npos);
  }
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  const std::string closed = "{\"x\":\"" + std::string(500'000, ']') + "\",\"hidden_size\":" + deep;
  EXPECT_FALSE(parse_model_config(closed + R"(,"architectures":["LlamaForCausalLM"]})"));
  expect_refused({{"architectures", {"GPT9"}}}, "GPT9");
  expect_refused(Json::object(), "architectures");
}

}  // namespace
}  // namespace liveweight
