// What a plan refuses of a checkpoint and of a configuration, by name, and what it makes of ties and experts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/random_model.h"

namespace liveweight::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const std::string kLayer = "model.layers.0.";
const std::string kQ = kLayer + "self_attn.q_proj.weight", kK = kLayer + "self_attn.k_proj.weight";

RandomModel model_of(const char* architecture, bool tied) {
  return RandomModel(fmt::format(
      R"({{"architectures": ["{}"], "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 32,
          "num_local_experts": 3, "num_experts_per_tok": 2, "tie_word_embeddings": {},
          "torch_dtype": "bfloat16"}})",
      architecture, tied));
}

class PlanRefusal : public ::testing::Test {
 protected:
  Result<std::shared_ptr<const Plan>> compile() const {
    return Plan::compile(model_.description(), catalog_, options_);
  }
  void quantize(const char* json) { options_.quantization = QuantizationConfig::parse(json).value(); }
  void expect_refused(ErrorCode code, const std::string& name) const {
    const auto plan = compile();
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, code) << plan.error().message;
    EXPECT_THAT(plan.error().names, Contains(name));
    EXPECT_THAT(plan.error().message, HasSubstr(name.substr(0, name.rfind('.'))));
  }

  Random random_{1};
  const RandomModel model_ = model_of("LlamaForCausalLM", true);
  const Weights weights_ = model_.weights(random_);
  TensorCatalog catalog_ = weights_.catalog();
  PlanOptions options_;
};

TEST_F(PlanRefusal, FusedMembersOfTwoDtypesAreRefusedByName) {
  catalog_.at(kK).dtype = DType::kF16;
  expect_refused(ErrorCode::kWrongDtype, kK);
}

TEST_F(PlanRefusal, FusedMembersOfTwoSchemesAreRefusedByName) {
  quantize(R"({"linear": "int8_per_channel", "targets": {"re:.*k_proj": "fp8_per_channel"}})");
  expect_refused(ErrorCode::kInvalidArgument, kK);
}

TEST_F(PlanRefusal, AShapeThatIsNotTheModelsIsRefusedByName) {
  for (const Shape& shape : {Shape{16, 15}, Shape{17, 16}, Shape{16}, Shape{1, 16, 16}}) {
    catalog_.at(kQ).shape = shape;
    expect_refused(ErrorCode::kWrongShape, kQ);
  }
}

TEST_F(PlanRefusal, CodesWithoutAConfigurationAreNotTakenForWeights) {
  for (const DType dtype : {DType::kF8E4M3, DType::kI8, DType::kI32}) {
    catalog_.at(kLayer + "mlp.down_proj.weight").dtype = dtype;
    expect_refused(ErrorCode::kWrongDtype, kLayer + "mlp.down_proj.weight");
  }
}

TEST_F(PlanRefusal, ATiedHeadSharesTheEmbeddingOnlyUnderTheSameScheme) {
  const auto shares = [&] {
    const auto plan = compile().value();
    return plan->find(Role::kHead, -1) == plan->find(Role::kEmbedding, -1);
  };
  EXPECT_TRUE(shares());
  quantize(R"({"linear": "int8_per_channel", "targets": {"lm_head": "int8_per_channel"}})");
  EXPECT_FALSE(shares());
  quantize(R"({"linear": "int8_per_channel",
               "targets": {"lm_head": "int8_per_channel", "model.embed_tokens": "int8_per_channel"}})");
  EXPECT_TRUE(shares());
}

TEST(PlanOfATie, AHeadWithATensorOfItsOwnIsNotTheEmbeddingsOtherName) {
  Random random(3);
  const RandomModel untied = model_of("LlamaForCausalLM", false);
  const Weights weights = untied.weights(random);
  const std::string embedding = "model.embed_tokens.weight";
  ModelDescription description = untied.description();
  description.aliases = {{"lm_head.weight", embedding}};
  const auto live = LiveModel::create(Plan::compile(description, weights.catalog(), {}).value()).value();
  ASSERT_TRUE(put_all(*live, weights));
  UpdateOptions options;
  options.scope = {embedding};
  auto update = live->begin_update(options);
  ASSERT_TRUE(update->put(embedding, weights.view(embedding)));
  const auto report = update->commit();
  EXPECT_TRUE(report) << report.error().message;
}

TEST_F(PlanRefusal, TheBytesOfATieCountOnce) {
  uint64_t bytes = 0;
  for (const auto& [name, entry] : weights_.tensors) bytes += entry.bytes.size();
  EXPECT_EQ(compile().value()->source_bytes(), bytes);
}

TEST(PlanOfExperts, EachExpertsMatrixHoldsItsOwnWeights) {
  Random random(2);
  const RandomModel mixtral = model_of("MixtralForCausalLM", false);
  const Weights weights = mixtral.weights(random);
  const auto live = make_model(mixtral, weights.catalog(), {}).value();
  ASSERT_TRUE(put_all(*live, weights));
  const int64_t p = live->plan().find(Role::kExpertsGateUp, 0);
  const std::byte* slot = live->pin()->table().slots[p];
  const size_t bytes = 24 * 16 * 2;
  for (int expert = 0; expert < 3; ++expert) {
    const std::string stem = fmt::format("{}block_sparse_moe.experts.{}.", kLayer, expert);
    for (const char* member : {"w1.weight", "w3.weight"}) {
      EXPECT_EQ(std::memcmp(slot, weights.view(stem + member).data, bytes), 0) << stem << member;
      slot += bytes;
    }
  }
}

// Of weights that a counter makes: a change of what a digest covers shows.
TEST(ModelDigest, OfAFixedModelIsTheOneWrittenDown) {
  Random random(1);
  const RandomModel model = model_of("LlamaForCausalLM", true);
  Weights weights = model.weights(random);
  int64_t count = 0;
  for (auto& [name, entry] : weights.tensors) {
    for (int64_t i = 0; i < element_count(entry.shape); ++i) {
      weights.set(name, i, static_cast<float>(count++ * 37 % 101 - 50) / 64);
    }
  }
  const std::pair<const char*, const char*> expected[] = {
      {"none", "3777ce2d482d1e76b6e2c02b48eda6e2"},
      {"int8_per_channel", "8b1ce44d3ecdaaa4f8707393c8621d35"},
      {"int4_per_group:16@torchao", "ed3c6e3b845643792872ad6dacfd1715"}};
  for (const auto& [scheme, digest] : expected) {
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    EXPECT_EQ(cold_digest(model, weights, options).hex(), digest) << scheme;
  }
}

}  // namespace
}  // namespace liveweight::testing
