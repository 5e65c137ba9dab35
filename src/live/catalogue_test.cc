// The failures that reloads are known for in other systems, a test for each class. Every test also runs an
// engine that has just that fault, and must find it. Classes 7 (caches) and 4 (captured graphs, once more)
// are in src/infer/reload_test.cc, class 9 (sparse positions) once more beside the deltas.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "live/naive_engine.h"
#include "liveweight/load.h"

namespace liveweight::testing {
namespace {

constexpr const char* kLlama = R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 48,
  "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "vocab_size": 70, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "max_position_embeddings": 64})";
constexpr const char* kMixtral = R"({"architectures": ["MixtralForCausalLM"], "hidden_size": 48,
  "intermediate_size": 56, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
  "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 70, "torch_dtype": "float32",
  "max_position_embeddings": 64})";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";
constexpr const char* kNorm = "model.norm.weight";

class Catalogue : public ::testing::Test {
 protected:
  std::unique_ptr<OurEngine> ours() const { return std::make_unique<OurEngine>(model_, first_); }
  std::unique_ptr<NaiveEngine> naive(Flaw flaw) const { return std::make_unique<NaiveEngine>(first_, flaw); }

  // What an engine of the same kind serves that never had other weights.
  template <typename Engine, typename... Args>
  static std::string cold(const Weights& weights, const Args&... args) {
    Engine engine(args...);
    EXPECT_TRUE(engine.update(all_of(weights)));
    return engine.served();
  }
  std::string cold(const OurEngine&, const Weights& weights) const {
    return cold<OurEngine>(weights, model_, first_);
  }
  std::string cold(const NaiveEngine&, const Weights& weights) const {
    return cold<NaiveEngine>(weights, first_, Flaw::kHoldsHighPrecision);
  }

  // The engine serves `first_`, is sent `sent`, and either refuses and serves what it did, or accepts and
  // serves `meant`.
  template <typename Engine>
  bool all_or_nothing(Engine& engine, const std::vector<Sent>& sent, const Weights& meant) const {
    EXPECT_TRUE(engine.update(all_of(first_)));
    const std::string before = engine.served();
    const bool accepted = engine.update(sent);
    return engine.served() == (accepted ? cold(engine, meant) : before);
  }

  void expect_ours_alone(Flaw flaw, const std::vector<Sent>& sent, const Weights& meant) const {
    EXPECT_TRUE(all_or_nothing(*ours(), sent, meant));
    EXPECT_FALSE(all_or_nothing(*naive(flaw), sent, meant)) << "the test does not bite";
  }

  Random random_{5};
  RandomModel model_{std::string(kLlama)};
  Weights first_ = model_.weights(random_);
  Weights second_ = model_.weights(random_);
};

class CatalogueOfExperts : public Catalogue {
 protected:
  CatalogueOfExperts() {
    model_ = RandomModel{std::string(kMixtral)};
    first_ = model_.weights(random_);
    second_ = model_.weights(random_);
  }
};

TEST_F(Catalogue, Class01AShardThatComesTwiceDoesNotCompleteItsTensor) {
  std::vector<Sent> sent = all_of(second_);
  for (size_t i = 0; i < sent.size(); ++i) {
    if (sent[i].name != kDown) continue;
    sent[i].count /= 2;
    sent.push_back(sent[i]);
    break;
  }
  expect_ours_alone(Flaw::kCountsElements, sent, second_);
}

TEST_F(Catalogue, Class02ATensorThatDidNotComeIsAnErrorAndNotAWarning) {
  std::vector<Sent> sent = all_of(second_);
  sent.erase(sent.begin());
  expect_ours_alone(Flaw::kKeepsWhatDidNotCome, sent, second_);
}

TEST_F(Catalogue, Class03TheSecondReloadIsAsGoodAsTheFirst) {
  expect_ours_alone(Flaw::kPostprocessesAgain, all_of(second_), second_);
}

TEST_F(Catalogue, Class04NothingThatAGraphPointsAtMoves) {
  const auto moved = [&](Reloadable& engine) {
    EXPECT_TRUE(engine.update(all_of(first_)));
    const auto before = engine.addresses();
    EXPECT_TRUE(engine.update(all_of(second_)));
    return engine.addresses() != before;
  };
  EXPECT_FALSE(moved(*ours()));
  EXPECT_TRUE(moved(*naive(Flaw::kMovesBuffers))) << "the test does not bite";
}

TEST_F(Catalogue, Class05ATiedHeadFollowsItsEmbedding) {
  const auto engine = ours();
  EXPECT_EQ(engine->live().plan().find(Role::kHead, -1), engine->live().plan().find(Role::kEmbedding, -1));
  const auto follows = [&](auto& any) {
    EXPECT_TRUE(any.update(all_of(first_)));
    EXPECT_TRUE(any.update(all_of(second_)));
    return any.served().find("stale") == std::string::npos;
  };
  EXPECT_TRUE(follows(*engine));
  EXPECT_FALSE(follows(*naive(Flaw::kClonesTheHead))) << "the test does not bite";
}

TEST_F(Catalogue, Class06AHalfWrittenFileIsNeverServed) {
  const auto directory = std::filesystem::temp_directory_path() / ("catalogue-" + std::to_string(getpid()));
  std::filesystem::create_directories(directory);
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const auto& [name, entry] : second_.tensors) tensors.emplace_back(name, second_.view(name));
  const auto serves_what_was_meant = [&](bool naive) {
    ASSERT_TRUE(write_safetensors(directory / "model.safetensors", tensors));
    const Checkpoint checkpoint = Checkpoint::open(directory).value();
    std::filesystem::resize_file(directory / "model.safetensors",
                                 std::filesystem::file_size(directory / "model.safetensors") / 2);
    const auto engine = ours();
    EXPECT_TRUE(engine->update(all_of(first_)));
    if (!naive) {
      EXPECT_EQ(reload(engine->live(), checkpoint).error().code, ErrorCode::kIo);
      EXPECT_EQ(engine->served(), cold(*engine, first_));
      return;
    }
    // Without the question whether the file is still the same, its zeros are weights like others.
    auto update = engine->live().begin_update();
    for (const CheckpointTensor& tensor : checkpoint.tensors()) {
      EXPECT_TRUE(update->borrow(tensor.name, tensor.view));
    }
    EXPECT_TRUE(update->commit());
    EXPECT_NE(engine->served(), cold(*engine, second_)) << "the test does not bite";
  };
  serves_what_was_meant(false);
  serves_what_was_meant(true);
  std::filesystem::remove_all(directory);
}

TEST_F(Catalogue, Class08WeightsThatAreNotFiniteAreNeverServed) {
  second_.set(kDown, 7, NAN);
  const auto accepts = [&](Reloadable& engine) {
    EXPECT_TRUE(engine.update(all_of(first_)));
    return engine.update(all_of(second_));
  };
  EXPECT_FALSE(accepts(*ours()));
  EXPECT_TRUE(accepts(*naive(Flaw::kServesNonFinite))) << "the test does not bite";
}

TEST_F(Catalogue, Class09PositionsBeyondTheEndTouchNothing) {
  std::vector<Sent> sent = all_of(second_);
  const Weights longer = RandomModel(std::string(kLlama)).weights(random_);
  for (Sent& piece : sent) {
    if (piece.name != kNorm) continue;
    piece.whole = longer.view(kEmbedding);
    piece.count += 5;
  }
  expect_ours_alone(Flaw::kTrustsPositions, sent, second_);
}

TEST_F(CatalogueOfExperts, Class10AnExpertIsTheOneOfItsNameWhateverCameFirst) {
  std::vector<Sent> sent = all_of(second_);
  std::reverse(sent.begin(), sent.end());
  expect_ours_alone(Flaw::kNumbersByArrival, sent, second_);
}

TEST_F(Catalogue, Class11AnUpdateThatFailsHalfWayLeavesTheOldWeights) {
  second_.set(kNorm, 3, INFINITY);
  expect_ours_alone(Flaw::kWritesAsItGoes, all_of(second_), second_);
}

TEST_F(Catalogue, Class12RollbackGivesTheOldWeightsThoughTheSourceIsGone) {
  const auto old_again = [&](auto& engine) {
    EXPECT_TRUE(engine.update(all_of(first_)));
    EXPECT_TRUE(engine.update(all_of(second_)));
    EXPECT_TRUE(engine.rollback());
    return engine.served() == cold(engine, first_);
  };
  EXPECT_TRUE(old_again(*ours()));
  EXPECT_FALSE(old_again(*naive(Flaw::kReadsThePathAgain))) << "the test does not bite";
}

TEST_F(Catalogue, Class13WhereOneRankFailsNoRankChanges) {
  const auto mixed = [&](bool prepares_all_first) {
    std::vector<std::unique_ptr<OurEngine>> ranks;
    std::vector<std::string> before;
    for (int64_t rank = 0; rank < 2; ++rank) {
      PlanOptions options = OurEngine::scheme();
      options.tensor_parallel = {2, rank};
      ranks.push_back(std::make_unique<OurEngine>(model_, first_, options));
      EXPECT_TRUE(ranks.back()->update(all_of(first_)));
      before.push_back(ranks.back()->served());
    }
    std::vector<Update> updates;
    bool all_prepared = true;
    for (size_t rank = 0; rank < 2; ++rank) {
      updates.push_back(std::move(*ranks[rank]->live().begin_update()));
      for (const Sent& piece : all_of(second_)) {
        if (rank == 1 && piece.name == kDown) continue;  // the second rank's source breaks
        EXPECT_TRUE(updates[rank].borrow(piece.name, piece.whole));
      }
      if (prepares_all_first) all_prepared = updates[rank].prepare().has_value() && all_prepared;
    }
    for (Update& update : updates) {
      if (prepares_all_first && !all_prepared) {
        update.abort();
      } else {
        (void)update.commit();
      }
    }
    return ranks[0]->served() != before[0] && ranks[1]->served() == before[1];
  };
  EXPECT_FALSE(mixed(true));
  EXPECT_TRUE(mixed(false)) << "the test does not bite";
}

TEST_F(Catalogue, Class14AReloadHoldsNoSecondModel) {
  const auto holds_a_model = [&](Reloadable& engine) {
    uint64_t model_bytes = 0;
    for (const auto& [name, entry] : second_.tensors) model_bytes += entry.bytes.size();
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(engine.update(all_of(i % 2 ? second_ : first_)));
    return engine.held_bytes() >= model_bytes;
  };
  EXPECT_FALSE(holds_a_model(*ours()));
  EXPECT_TRUE(holds_a_model(*naive(Flaw::kHoldsHighPrecision))) << "the test does not bite";
}

TEST_F(Catalogue, Class15ReadersGoOnUntilTheMomentOfTheFlip) {
  const auto readers_go_on = [&](CommitMode mode) {
    PlanOptions options = OurEngine::scheme();
    options.mode = mode;
    OurEngine engine(model_, first_, options);
    EXPECT_TRUE(engine.update(all_of(first_)));
    UpdateOptions wait;
    wait.reader_timeout = std::chrono::milliseconds(1);
    auto update = engine.live().begin_update(wait);
    const auto reader = engine.live().pin();
    EXPECT_TRUE(reader);
    bool all = true;
    for (const Sent& piece : all_of(second_)) all = all && update->put(piece.name, piece.whole).has_value();
    return all && update->prepare().has_value() && engine.live().pin()->version_number() == 1;
  };
  EXPECT_TRUE(readers_go_on(CommitMode::kFlip));
  EXPECT_TRUE(readers_go_on(CommitMode::kCopy));
  EXPECT_FALSE(readers_go_on(CommitMode::kInPlace))
      << "the mode that writes where they read has to wait for them";
}

}  // namespace
}  // namespace liveweight::testing
