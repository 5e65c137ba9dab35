// I1, I4 and I5 over random models, schemes, profiles, modes, ranks, orders and pieces.
#include "live/delivery.h"

namespace liveweight::testing {
namespace {

TEST(WarmEqualsCold, WhateverTheSchemeTheModeTheOrderAndThePieces) {
  for_each_seed(90, [&](Random& random, uint64_t seed) {
    const RandomCase drawn = RandomCase::draw(random, seed);
    SCOPED_TRACE(drawn.describe(seed));
    const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
    const auto live = make_model(drawn.model, first.catalog(), drawn.options);
    ASSERT_TRUE(live) << live.error().message;
    const auto addresses = addresses_of(**live);
    for (const Weights* weights : {&first, &second, &first}) {
      const auto report = reload(random, **live, deliveries(random, *weights));
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(digest_of(**live)->model, cold_digest(drawn.model, *weights, drawn.options));
      EXPECT_LE(report->extra_peak_bytes, report->predicted_extra_peak_bytes);
      EXPECT_EQ(report->tensors, static_cast<int64_t>(weights->tensors.size()));
      EXPECT_EQ(addresses_of(**live), addresses);
    }
  });
}

TEST(WarmEqualsCold, WithTheModelCutAmongOneToEightRanks) {
  for_each_seed(60, [&](Random& random, uint64_t seed) {
    const RandomCase drawn = RandomCase::draw(random, seed, 8);
    SCOPED_TRACE(drawn.describe(seed));
    const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
    PlanOptions options = drawn.options;
    constexpr int64_t kSizes[] = {1, 2, 4, 8};
    options.tensor_parallel.size = one_of(random, kSizes);
    std::vector<std::unique_ptr<LiveModel>> ranks;
    for (int64_t& rank = options.tensor_parallel.rank; rank < options.tensor_parallel.size; ++rank) {
      auto live = make_model(drawn.model, first.catalog(), options);
      ASSERT_TRUE(live) << live.error().message;
      for (const Weights* weights : {&first, &second}) {
        const auto report = reload(random, **live, deliveries(random, *weights));
        ASSERT_TRUE(report) << report.error().message;
      }
      ranks.push_back(std::move(*live));
    }
    const auto whole = Plan::compile(drawn.model.description(), first.catalog(), drawn.options).value();
    EXPECT_EQ(digest_of_ranks(*whole, ranks)->model, cold_digest(drawn.model, second, drawn.options))
        << options.tensor_parallel.size << " ranks";
  });
}

TEST(WarmEqualsCold, WhereOnlyPartOfTheModelIsUpdated) {
  for_each_seed(60, [&](Random& random, uint64_t seed) {
    RandomCase drawn = RandomCase::draw(random, seed);
    SCOPED_TRACE(drawn.describe(seed));
    const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
    const auto live = make_model(drawn.model, first.catalog(), drawn.options);
    ASSERT_TRUE(live) << live.error().message;
    ASSERT_TRUE(put_all(**live, first));
    // Modules of one layer: what is fused goes together.
    UpdateOptions options;
    options.scope = {between(random, 0, 1) ? "model.layers.0" : "model.embed_tokens", "model.norm"};
    Weights mixed = first;
    std::vector<std::string> names;
    for (const auto& [name, entry] : second.tensors) {
      const bool in_scope = std::any_of(options.scope.begin(), options.scope.end(),
                                        [&](const auto& module) { return name.rfind(module + ".", 0) == 0; });
      if (!in_scope) continue;
      names.push_back(name);
      mixed.tensors[name] = entry;
    }
    if (drawn.options.mode == CommitMode::kInPlace) {
      // A piece that fails in place would cost the version, so borrowed tensors are what it is for.
      auto update = (*live)->begin_update(options);
      ASSERT_TRUE(update);
      for (const auto& name : names) ASSERT_TRUE(update->borrow(name, second.view(name)));
      ASSERT_TRUE(update->commit());
    } else {
      const auto report = reload(random, **live, deliveries(random, second, names), options);
      ASSERT_TRUE(report) << report.error().message;
    }
    EXPECT_EQ(digest_of(**live)->model, cold_digest(drawn.model, mixed, drawn.options));
    const auto snapshot = (*live)->pin();
    ASSERT_TRUE(snapshot);
    const auto& parameters = (*live)->plan().parameters();
    for (size_t p = 0; p < parameters.size(); ++p) {
      const bool touched = std::any_of(
          parameters[p].sources.begin(), parameters[p].sources.end(),
          [&](const auto& source) { return std::find(names.begin(), names.end(), source) != names.end(); });
      EXPECT_EQ(snapshot->table().parameter_versions[p], touched ? 2u : 1u) << parameters[p].name;
    }
  });
}

// Of q, k and v only q ends where its blocks do.
TEST(WarmEqualsCold, WhereOnlySomeMembersOfAParameterWaitForTheirLastElement) {
  Random random(1);
  const RandomModel model(one_layer_llama(128, 24, 64));
  Weights now = model.weights(random);
  const Weights next = model.weights(random);
  PlanOptions options;
  options.quantization = QuantizationConfig::uniform(parse_scheme("fp8_per_block@nemo").value());
  const auto live = make_model(model, now.catalog(), options).value();
  ASSERT_TRUE(put_all(*live, now));
  UpdateOptions some;
  for (const char* projection : {"q_proj", "k_proj"}) {
    some.scope.push_back(fmt::format("model.layers.0.self_attn.{}.weight", projection));
  }
  auto update = live->begin_update(some);
  ASSERT_TRUE(update) << update.error().message;
  for (const std::string& name : some.scope) {
    ASSERT_TRUE(update->put(name, next.view(name)));
    now.tensors[name] = next.tensors.at(name);
  }
  ASSERT_TRUE(update->commit());
  EXPECT_EQ(digest_of(*live)->model, cold_digest(model, now, options));
}

TEST(WarmEqualsCold, AfterAHundredReloadsInARow) {
  for (const CommitMode mode : kCommitModes) {
    Random random(7);
    const RandomModel model(random);
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("fp8_per_block").value());
    options.mode = mode;
    const Weights first = model.weights(random), second = model.weights(random);
    const auto live = make_model(model, first.catalog(), options);
    ASSERT_TRUE(live);
    const Digest cold[] = {cold_digest(model, first, options), cold_digest(model, second, options)};
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(put_all(**live, i % 2 ? second : first));
      ASSERT_EQ(digest_of(**live)->model, cold[i % 2]) << to_string(mode) << " reload " << i;
    }
    EXPECT_EQ((*live)->version().number, 100u);
  }
}

TEST(WarmEqualsCold, WhereATiedHeadIsQuantizedAndItsEmbeddingIsNot) {
  for_each_seed(20, [&](Random& random, uint64_t) {
    const RandomModel model(random);
    if (!model.description().config.tied) return;
    SCOPED_TRACE(model.text());
    const auto quantization = QuantizationConfig::parse(
        R"({"linear": "int8_per_channel", "targets": {"lm_head": "fp8_per_channel"}})");
    ASSERT_TRUE(quantization) << quantization.error().message;
    PlanOptions options;
    options.quantization = *quantization;
    const Weights first = model.weights(random), second = model.weights(random);
    const auto live = make_model(model, first.catalog(), options);
    ASSERT_TRUE(live) << live.error().message;
    ASSERT_TRUE(reload(random, **live, deliveries(random, first)));
    ASSERT_TRUE(reload(random, **live, deliveries(random, second)));
    EXPECT_EQ(digest_of(**live)->model, cold_digest(model, second, options));
  });
}

}  // namespace
}  // namespace liveweight::testing
