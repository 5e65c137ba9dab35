// Checkpoints of thousands of tensors, which several threads look up.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/temporary_folder.h"
#include "live/random_model.h"
#include "liveweight/load.h"

namespace liveweight::testing {
namespace {

class ManyTensors : public ::testing::Test {
 protected:
  using Tensors = std::vector<std::pair<std::string, TensorView>>;

  static Tensors shuffled(const Weights& weights, Random random) {
    Tensors tensors;
    for (const auto& [name, entry] : weights.tensors) tensors.emplace_back(name, weights.view(name));
    std::shuffle(tensors.begin(), tensors.end(), random);
    return tensors;
  }
  Result<UpdateReport> reload_from(LiveModel& live, const Tensors& tensors) const {
    const auto file = folder_.path() / "model.safetensors";
    LW_TRY(write_safetensors(file, tensors));
    LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open_file(file));
    return reload(live, checkpoint);
  }

  Random random_{1};
  const RandomModel model_{
      R"({"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
          "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
          "vocab_size": 16, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "num_experts": 200,
          "num_experts_per_tok": 2, "moe_intermediate_size": 8})"};
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-many-tensors").value();
};

TEST_F(ManyTensors, InAnyOrderTheyGiveWhatAColdLoadGives) {
  for (const char* scheme : {"none", "int8_per_channel", "fp8_per_tensor"}) {
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    const auto live = make_model(model_, model_.weights(random_).catalog(), options).value();
    for (int version = 0; version < 3; ++version) {
      const Weights weights = model_.weights(random_);
      const auto report = reload_from(*live, shuffled(weights, random_));
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(report->tensors, static_cast<int64_t>(weights.tensors.size()));
      EXPECT_EQ(digest_of(*live)->model, cold_digest(model_, weights, options)) << scheme;
    }
  }
}

TEST_F(ManyTensors, OfSeveralThatDoNotFitTheFirstOfTheFileIsNamedAndNothingChanges) {
  const Weights weights = model_.weights(random_);
  const auto live = make_model(model_, weights.catalog(), {}).value();
  Tensors tensors = shuffled(weights, random_);
  ASSERT_TRUE(reload_from(*live, tensors));
  const Digest before = digest_of(*live)->model;
  ASSERT_GT(tensors.size(), 1800u);
  for (const size_t wrong : {1700u, 700u, 600u, 1200u}) {
    tensors[wrong].second.shape = {element_count(tensors[wrong].second.shape), 1, 1};
    const auto report = reload_from(*live, tensors);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kWrongShape);
    const size_t first = wrong == 1200 ? 600 : wrong;
    EXPECT_EQ(report.error().names, std::vector<std::string>{tensors[first].first});
  }
  EXPECT_EQ(digest_of(*live)->model, before);
}

}  // namespace
}  // namespace liveweight::testing
