// What loading reads of a directory: names, ignored tensors, generation_config.json, and what is quantized.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "live/random_model.h"
#include "liveweight/load.h"
#include "liveweight/quantization_error.h"

namespace liveweight::testing {
namespace {

const std::string kNorm = "model.norm.weight", kEmbedding = "model.embed_tokens.weight";

class LoadRules : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
    write(weights_);
    write_config("");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const Weights& weights, const std::map<std::string, std::string>& metadata = {}) const {
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, entry] : weights.tensors) tensors.emplace_back(name, weights.view(name));
    ASSERT_TRUE(write_safetensors(directory_ / "model.safetensors", tensors, metadata));
  }
  // With another field.
  void write_config(const std::string& field) const {
    std::string text = model_.text();
    ASSERT_TRUE(write_text_file(directory_ / "config.json", text.insert(1, field)));
  }
  ModelDirectory open() const { return open_model_directory(directory_).value(); }

  Random random_{1};
  const RandomModel model_{
      R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 24,
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
          "vocab_size": 32, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "eos_token_id": 2})"};
  Weights weights_ = model_.weights(random_);
  const std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("liveweight-load-rules-" + std::to_string(getpid()));
};

TEST_F(LoadRules, IgnoredTensorsAreNeitherInTheCatalogNorGivenToTheUpdate) {
  const std::string ignored = "model.layers.0.self_attn.rotary_emb.inv_freq";
  weights_.tensors[ignored] = weights_.tensors.at(kNorm);
  write(weights_);
  const ModelDirectory opened = open();
  EXPECT_NE(opened.checkpoint.find(ignored), nullptr);
  EXPECT_FALSE(opened.catalog.contains(ignored));
  const auto model = load_model(opened, {});
  EXPECT_TRUE(model) << model.error().message;
}

TEST_F(LoadRules, TwoNamesThatMapToOneTensorAreRefused) {
  weights_.tensors["model.other.weight"] = weights_.tensors.at(kNorm);
  write(weights_);
  const NameMap names = NameMap::parse(R"([["^model\\.other", "model.norm"]])").value();
  const auto opened = open_model_directory(directory_, names);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kDuplicateTensor);
  EXPECT_THAT(opened.error().names, ::testing::Contains(kNorm));
}

TEST_F(LoadRules, TheFirstVersionHasTheGivenLabel) {
  LoadOptions options;
  options.label = "step 7";
  EXPECT_EQ(load_model(open(), options).value()->version().label, "step 7");
}

TEST_F(LoadRules, GenerationConfigSaysWhichTokensEnd) {
  EXPECT_EQ(read_model_config(directory_)->eos_token_ids, std::vector<int32_t>{2});
  ASSERT_TRUE(write_text_file(directory_ / "generation_config.json", R"({"eos_token_id": [3, 5]})"));
  EXPECT_EQ(read_model_config(directory_)->eos_token_ids, (std::vector<int32_t>{3, 5}));
}

TEST_F(LoadRules, WhatIsTiedIsLoadableAfterADeltaOfOneNameWasPutIntoTheDirectory) {
  weights_.tensors["lm_head.weight"] = weights_.tensors.at(kEmbedding);
  write(weights_);
  Weights next = weights_;
  next.set(kEmbedding, 17, 0.5f);
  auto writer = DeltaWriter::create(directory_ / "delta", {});
  ASSERT_TRUE(writer && writer->add(kEmbedding, weights_.view(kEmbedding), next.view(kEmbedding)) &&
              writer->finish());
  ASSERT_TRUE(
      apply_deltas(directory_, std::vector{directory_ / "delta"}, directory_, tied_tensors(directory_)));
  const auto model = load_model(open(), {});
  EXPECT_TRUE(model) << model.error().message;
}

TEST_F(LoadRules, NothingIsTiedWhereNoConfigurationSaysSo) {
  EXPECT_THAT(tied_tensors(directory_),
              ::testing::ElementsAre(::testing::Pair("lm_head.weight", kEmbedding)));
  ASSERT_TRUE(write_text_file(directory_ / "config.json", R"({"architectures": ["Other"]})"));
  EXPECT_TRUE(tied_tensors(directory_).empty());
  EXPECT_TRUE(tied_tensors(directory_ / "missing").empty());
}

TEST_F(LoadRules, AnOfflineCheckpointIsTakenAsItIsUnderSchemeNone) {
  write_config(R"("quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic",
                                          "weight_block_size": [128, 128]}, )");
  const ModelDirectory opened = open();
  const auto none = choose_quantization(opened, QuantizationConfig());
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->method(), "fp8");
  EXPECT_EQ(none->quantization_case(), QuantizationCase::kOffline);
  const auto int8 = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
  EXPECT_EQ(choose_quantization(opened, int8).error().code, ErrorCode::kUnsupported);
}

TEST_F(LoadRules, TorchaoWeightsAreQuantizedAlreadyOnlyWhereTheFileListsItsTensors) {
  write_config(R"("quantization_config": {"quant_method": "torchao", "quant_type": {"default": {
      "_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"group_size": null,
      "granularity": {"_type": "PerRow", "_version": 1, "_data": {"dim": -1}},
      "set_inductor_config": true}}}}, )");
  EXPECT_EQ(open().quantization.quantization_case(), QuantizationCase::kOnline);
  write(weights_, {{"tensor_names", "[]"}});
  EXPECT_EQ(open().quantization.quantization_case(), QuantizationCase::kOffline);
}

TEST_F(LoadRules, ATieUnderItsOtherNameIsComparedWithTheModel) {
  const auto model = load_model(open(), {}).value();
  weights_.tensors["lm_head.weight"] = weights_.tensors.at(kEmbedding);
  weights_.tensors.erase(kEmbedding);
  write(weights_);
  const auto report =
      quantization_error_of(*model, model->pin().value(), Checkpoint::open(directory_).value());
  ASSERT_TRUE(report) << report.error().message;
  for (const ParameterError& parameter : report->parameters) EXPECT_EQ(parameter.error.largest, 0);
}

TEST_F(LoadRules, EachRankIsComparedWithItsOwnColumns) {
  const ModelDirectory opened = open();
  for (const int rank : {0, 1}) {
    LoadOptions options;
    options.tensor_parallel = {2, rank};
    const auto model = load_model(opened, options);
    ASSERT_TRUE(model) << model.error().message;
    const auto report = quantization_error_of(**model, (*model)->pin().value(), opened.checkpoint).value();
    for (const ParameterError& parameter : report.parameters) {
      EXPECT_EQ(parameter.error.largest, 0) << rank << " " << parameter.name;
    }
  }
}

}  // namespace
}  // namespace liveweight::testing
