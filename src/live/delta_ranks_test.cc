// Deltas at ranks that keep nothing of what changed.
#include <gtest/gtest.h>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

const std::string kUp = "model.layers.0.mlp.up_proj.weight", kDown = "model.layers.0.mlp.down_proj.weight";

// The one row of up_proj and the one column of down_proj are the second rank's.
TEST(DeltaRanks, ThatKeepNoElementOfATensorReadAndQuantizeNothingOfIt) {
  Random random(2);
  const RandomModel model(one_layer_llama(16, 1));
  const Weights now = model.weights(random);
  Weights next = now;
  next.set(kUp, 5, 9.0f);
  next.set(kDown, 5, 9.0f);
  const TemporaryFolder folder = TemporaryFolder::make("liveweight-test").value();
  const Checkpoint checkpoint = write_checkpoint(folder.path(), now);
  for (const Scheme& scheme : all_schemes()) {
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(scheme);
    std::vector<std::unique_ptr<LiveModel>> ranks;
    for (const int64_t rank : {0, 1}) {
      options.tensor_parallel = {2, rank};
      ranks.push_back(make_model(model, now.catalog(), options).value());
      ASSERT_TRUE(put_all(*ranks.back(), now));
      ASSERT_TRUE(ranks.back()->attach_mirror(Mirror::in_memory(checkpoint, same_name).value()));
      const auto report = put_changes(*ranks.back(), now, next);
      ASSERT_TRUE(report) << report.error().message;
      if (rank > 0) continue;
      EXPECT_EQ(report->whole_units, 0u) << to_string(scheme);
      EXPECT_EQ(report->mirror_bytes, 0u) << to_string(scheme);
    }
    options.tensor_parallel = {};
    const auto whole = Plan::compile(model.description(), now.catalog(), options).value();
    EXPECT_EQ(digest_of_ranks(*whole, ranks)->model, cold_digest(model, next, options)) << to_string(scheme);
  }
}

}  // namespace
}  // namespace liveweight::testing
