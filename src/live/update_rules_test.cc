// What an update may be given, what it requires, and what it reports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "live/delivery.h"

namespace liveweight::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kUp = "model.layers.1.mlp.up_proj.weight";  // [24, 16], fused with gate_proj
constexpr const char* kNorm = "model.norm.weight";                // [16]
constexpr const char* kEmbedding = "model.embed_tokens.weight";   // tied to lm_head.weight

class UpdateRules : public ::testing::Test {
 protected:
  void start(const char* scheme, CommitMode mode = CommitMode::kFlip) {
    options_.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    options_.mode = mode;
    live_ = make_model(model_, first_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, first_));
  }
  void SetUp() override { start("int8_per_channel"); }

  static ErrorCode code_of(const Status& status) {
    return status ? ErrorCode::kInternal : status.error().code;
  }

  ErrorCode put_region_of(const char* name, Shape begin, Shape extent, size_t bytes) {
    auto update = live_->begin_update();
    const std::vector<std::byte> data(bytes);
    return code_of(
        update->put(name, {DType::kBF16, extent, data.data(), bytes}, Region{std::move(begin), extent}));
  }
  ErrorCode put_flat_of(int64_t first, size_t count) {
    auto update = live_->begin_update();
    const std::vector<std::byte> data(count * 2);
    return code_of(update->put_flat(
        kUp, {DType::kBF16, {static_cast<int64_t>(count)}, data.data(), data.size()}, first));
  }
  Result<UpdateReport> put_some(const Weights& weights, const std::vector<std::string>& names,
                                UpdateOptions options) {
    LW_ASSIGN(Update update, live_->begin_update(std::move(options)));
    for (const std::string& name : names) LW_TRY(update.borrow(name, weights.view(name)));
    return update.commit();
  }
  static UpdateOptions scope(std::vector<std::string> entries) {
    UpdateOptions options;
    options.scope = std::move(entries);
    return options;
  }

  Random random_{3};
  const RandomModel model_{
      R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 24,
          "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
          "vocab_size": 32, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})"};
  const Weights first_ = model_.weights(random_), second_ = model_.weights(random_);
  PlanOptions options_;
  std::unique_ptr<LiveModel> live_;
};

TEST_F(UpdateRules, ARegionLiesInTheTensor) {
  const ErrorCode good = ErrorCode::kInternal, bad = ErrorCode::kWrongShape;
  EXPECT_EQ(put_region_of(kUp, {23, 0}, {1, 16}, 32), good);
  EXPECT_EQ(put_region_of(kUp, {24, 0}, {0, 16}, 0), good) << "an empty one at the end";
  EXPECT_EQ(put_region_of(kUp, {23, 0}, {2, 16}, 64), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 1}, {1, 16}, 32), bad);
  EXPECT_EQ(put_region_of(kUp, {25, 0}, {0, 16}, 0), bad);
  EXPECT_EQ(put_region_of(kUp, {-1, 0}, {1, 16}, 32), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 0}, {-1, -16}, 32), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 0}, {-1, 16}, 0), bad);
  EXPECT_EQ(put_region_of(kUp, {0}, {24}, 48), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 0, 0}, {1, 1, 1}, 2), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 0}, {1, 16}, 30), bad);
  EXPECT_EQ(put_region_of(kUp, {0, 0}, {1, 16}, 34), bad);
}

TEST_F(UpdateRules, ARunLiesInTheTensor) {
  EXPECT_EQ(put_flat_of(24 * 16 - 1, 1), ErrorCode::kInternal);
  EXPECT_EQ(put_flat_of(24 * 16, 0), ErrorCode::kInternal);
  for (const auto& [first, count] : {std::pair<int64_t, size_t>{24 * 16 - 1, 2},
                                     {24 * 16, 1},
                                     {-1, 2},
                                     {24 * 16 + 1, 0},
                                     {0, 24 * 16 + 1}}) {
    EXPECT_EQ(put_flat_of(first, count), ErrorCode::kWrongShape) << first << " " << count;
  }
}

TEST_F(UpdateRules, AWholeTensorHasTheDtypeTheShapeAndTheBytes) {
  const auto code = [&](TensorView view) { return code_of(live_->begin_update()->borrow(kUp, view)); };
  const TensorView good = second_.view(kUp);
  EXPECT_EQ(code(good), ErrorCode::kInternal);
  EXPECT_EQ(code({DType::kF16, good.shape, good.data, good.bytes}), ErrorCode::kWrongDtype);
  EXPECT_EQ(code({good.dtype, {16, 24}, good.data, good.bytes}), ErrorCode::kWrongShape);
  EXPECT_EQ(code({good.dtype, {24 * 16}, good.data, good.bytes}), ErrorCode::kWrongShape);
  EXPECT_EQ(code({good.dtype, good.shape, good.data, good.bytes + 2}), ErrorCode::kWrongShape);
  EXPECT_EQ(code({good.dtype, good.shape, nullptr, good.bytes}), ErrorCode::kWrongShape);
}

TEST_F(UpdateRules, NoElementComesTwice) {
  const TensorView view = second_.view(kUp);
  const auto twice = [&](int64_t first, int64_t count) {
    auto update = live_->begin_update();
    EXPECT_TRUE(put_run(*update, kUp, view, 10, 20));
    return code_of(put_run(*update, kUp, view, first, count));
  };
  for (const auto& [first, count] : {std::pair{10, 20}, {0, 11}, {29, 1}, {15, 2}, {0, 64}}) {
    EXPECT_EQ(twice(first, count), ErrorCode::kDuplicateTensor) << first << " " << count;
  }
  EXPECT_EQ(twice(0, 10), ErrorCode::kInternal);
  EXPECT_EQ(twice(30, 1), ErrorCode::kInternal);
}

TEST_F(UpdateRules, AScopeNamesTensorsModulesAndBothNamesOfATie) {
  EXPECT_TRUE(put_some(second_, {kNorm}, scope({kNorm})));
  EXPECT_TRUE(put_some(second_, {kNorm}, scope({"model.norm"})));
  // The tensor may come under either of its names, whichever the scope has.
  Weights tied = second_;
  tied.tensors["lm_head.weight"] = tied.tensors.at(kEmbedding);
  for (const char* entry : {kEmbedding, "lm_head.weight", "lm_head"}) {
    for (const char* name : {kEmbedding, "lm_head.weight"}) {
      const auto report = put_some(tied, {name}, scope({entry}));
      EXPECT_TRUE(report) << entry << " " << name << ": " << report.error().message;
    }
    EXPECT_EQ(put_some(tied, {}, scope({entry})).error().code, ErrorCode::kMissingTensor);
  }
  for (const char* entry :
       {"model.nor", "model.layers.", "norm", "model.layers.2", "model.layers.1.mlp.up"}) {
    const auto report = put_some(second_, {kNorm}, scope({entry}));
    ASSERT_FALSE(report) << entry;
    EXPECT_EQ(report.error().code, ErrorCode::kUnknownTensor) << entry;
    EXPECT_THAT(report.error().message, HasSubstr("no tensor or module"));
  }
  const auto outside = put_some(second_, {kUp}, scope({kNorm}));
  EXPECT_THAT(outside.error().message, HasSubstr("not in the scope"));
  EXPECT_EQ(put_some(second_, {kNorm}, scope({"model.norm", kUp})).error().names,
            std::vector{std::string(kUp)});
}

TEST_F(UpdateRules, AFusedTensorAloneLeavesItsSistersUnlessOneScaleCoversThem) {
  Weights mixed = first_;
  mixed.tensors[kUp] = second_.tensors.at(kUp);
  ASSERT_TRUE(put_some(second_, {kUp}, scope({kUp})));
  EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, mixed, options_));
  start("int8_per_tensor");
  const auto refused = put_some(second_, {kUp}, scope({kUp}));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("one scale covers both"));
  EXPECT_TRUE(put_some(second_, {kUp, "model.layers.1.mlp.gate_proj.weight"},
                       scope({"model.layers.1.mlp.up_proj", "model.layers.1.mlp.gate_proj"})));
}

TEST_F(UpdateRules, ATieThatDiffersOrComesInPartIsRefused) {
  Weights tied = second_;
  tied.tensors["lm_head.weight"] = tied.tensors.at(kEmbedding);
  EXPECT_TRUE(put_all(*live_, tied));
  tied.set("lm_head.weight", 32 * 16 - 1, 3.0f);
  EXPECT_EQ(put_all(*live_, tied).error().code, ErrorCode::kDuplicateTensor);
  auto update = live_->begin_update();
  for (const auto& [name, entry] : second_.tensors) ASSERT_TRUE(update->borrow(name, second_.view(name)));
  ASSERT_TRUE(put_run(*update, "lm_head.weight", tied.view("lm_head.weight"), 0, 16));
  EXPECT_EQ(update->commit().error().code, ErrorCode::kMissingTensor);
}

TEST_F(UpdateRules, ATieMayComeUnderEitherNameWholeOrInPieces) {
  const std::string alias = "lm_head.weight";
  const TensorView view = second_.view(kEmbedding);
  for (const char* scheme : {"none", "fp8_per_block", "int8_per_tensor"}) {
    for (const CommitMode mode : kCommitModes) {
      for (const int pieces : {1, 3}) {
        start(scheme, mode);
        auto update = live_->begin_update();
        for (const auto& [name, entry] : second_.tensors) {
          if (name == kEmbedding) continue;
          ASSERT_TRUE(update->borrow(name, second_.view(name)));
        }
        if (pieces == 1) {
          ASSERT_TRUE(update->borrow(alias, view));
        }
        for (int64_t first = 0; pieces == 3 && first < 512; first += 200) {
          ASSERT_TRUE(put_run(*update, alias, view, first, std::min<int64_t>(200, 512 - first)));
          ASSERT_TRUE(update->stage());
        }
        const auto report = update->commit();
        ASSERT_TRUE(report) << report.error().message;
        EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, second_, options_)) << scheme << pieces;
      }
    }
  }
}

TEST_F(UpdateRules, TheLastElementMustComeToo) {
  for (const int64_t left_out : {0, 100, 24 * 16 - 1}) {
    auto update = live_->begin_update();
    for (const auto& [name, entry] : second_.tensors) {
      if (name == kUp) continue;
      ASSERT_TRUE(update->borrow(name, second_.view(name)));
    }
    const TensorView view = second_.view(kUp);
    ASSERT_TRUE(put_run(*update, kUp, view, 0, left_out));
    ASSERT_TRUE(put_run(*update, kUp, view, left_out + 1, 24 * 16 - left_out - 1));
    const Status status = update->prepare();
    ASSERT_FALSE(status) << left_out;
    EXPECT_EQ(status.error().code, ErrorCode::kMissingTensor);
    EXPECT_THAT(status.error().message, HasSubstr(fmt::format("elements {} to {}", left_out, left_out + 1)));
  }
}

TEST_F(UpdateRules, OneAtATimeAndEachCallAfterAnEndGivesIt) {
  {
    auto open = live_->begin_update();
    EXPECT_EQ(live_->begin_update().error().code, ErrorCode::kBusy);
    EXPECT_EQ(live_->rollback().error().code, ErrorCode::kBusy);
    EXPECT_EQ(live_->catch_up().error().code, ErrorCode::kBusy);
    EXPECT_EQ(live_->attach_mirror(nullptr).error().code, ErrorCode::kBusy);
  }
  auto update = live_->begin_update();
  ASSERT_TRUE(update) << "one that was dropped is no longer open";
  const Status first = update->put("nothing", second_.view(kNorm));
  EXPECT_EQ(code_of(first), ErrorCode::kUnknownTensor);
  EXPECT_EQ(update->put(kNorm, second_.view(kUp)).error().message, first.error().message)
      << "the first error stays";
  EXPECT_EQ(update->commit().error().message, first.error().message);
  update->abort();
  EXPECT_EQ(code_of(update->prepare()), ErrorCode::kUnknownTensor);
  auto aborted = live_->begin_update();
  aborted->abort();
  EXPECT_EQ(code_of(aborted->put(kNorm, second_.view(kNorm))), ErrorCode::kAborted);
  auto prepared = live_->begin_update(scope({kNorm}));
  ASSERT_TRUE(prepared) << "one that failed and one that was aborted are no longer open";
  ASSERT_TRUE(prepared->borrow(kNorm, second_.view(kNorm)) && prepared->prepare() && prepared->prepare());
  EXPECT_THAT(prepared->put(kNorm, second_.view(kNorm)).error().message, HasSubstr("prepared already"));
  prepared->abort();
  auto committed = live_->begin_update(scope({kNorm}));
  ASSERT_TRUE(committed->borrow(kNorm, second_.view(kNorm)) && committed->commit());
  EXPECT_THAT(committed->commit().error().message, HasSubstr("committed already"));
  EXPECT_EQ(live_->version().number, 2u);
}

TEST_F(UpdateRules, AModelWithoutAVersionTakesNoPart) {
  const auto empty = make_model(model_, first_.catalog(), options_).value();
  EXPECT_EQ(empty->begin_update(scope({kNorm})).error().code, ErrorCode::kFailedState);
  UpdateOptions deltas;
  deltas.deltas = true;
  EXPECT_EQ(empty->begin_update(deltas).error().code, ErrorCode::kFailedState);
  EXPECT_EQ(empty->pin().error().code, ErrorCode::kFailedState);
  ASSERT_TRUE(put_all(*empty, first_));
  EXPECT_FALSE(empty->rollback()) << "there is none before the first";
}

TEST_F(UpdateRules, ReportsWhatCame) {
  UpdateOptions options = scope({"model.layers.1.mlp.up_proj", kNorm});
  options.label = "step 7";
  auto update = live_->begin_update(options);
  const TensorView up = second_.view(kUp);
  ASSERT_TRUE(put_run(*update, kUp, up, 0, 100) && put_run(*update, kUp, up, 100, 24 * 16 - 100));
  ASSERT_TRUE(update->borrow(kNorm, second_.view(kNorm)));
  const auto report = update->commit();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->version.number, 2u);
  EXPECT_EQ(report->version.label, "step 7");
  EXPECT_EQ(report->tensors, 2);
  EXPECT_EQ(report->source_bytes, (24 * 16 + 16) * 2u);
  EXPECT_EQ(report->changed_elements, 0u);
  EXPECT_GE(report->extra_peak_bytes, live_->plan().live_bytes());
  EXPECT_LE(report->extra_peak_bytes, report->predicted_extra_peak_bytes);
  EXPECT_LT(report->pause_us, 60e6);
  EXPECT_EQ(live_->version().label, "step 7");
  EXPECT_EQ(live_->label_of(2), "step 7");
  EXPECT_EQ(live_->label_of(1), "");
  EXPECT_EQ(live_->label_of(9), "");
}

TEST_F(UpdateRules, TheTableSaysWhichVersionEachParameterIsOf) {
  const auto versions = [&] { return live_->pin()->table().parameter_versions; };
  const size_t count = live_->plan().parameters().size();
  EXPECT_EQ(versions(), std::vector<uint64_t>(count, 1));
  ASSERT_TRUE(put_some(second_, {kNorm}, scope({kNorm})));
  std::vector<uint64_t> expected(count, 1);
  for (size_t p = 0; p < count; ++p) {
    if (live_->plan().parameters()[p].name == kNorm) expected[p] = 2;
  }
  EXPECT_EQ(versions(), expected);
  EXPECT_EQ(live_->pin()->table().version_number, 2u);
}

TEST_F(UpdateRules, ARollbackHasANumberOfItsOwnAndTheOldLabel) {
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy}) {
    start("int8_per_channel", mode);
    UpdateOptions options;
    options.label = "second";
    ASSERT_TRUE(put_all(*live_, second_, options));
    options.label = "third";
    ASSERT_TRUE(put_all(*live_, first_, options));
    const auto back = live_->rollback();
    ASSERT_TRUE(back);
    EXPECT_EQ(back->number, 4u);
    EXPECT_EQ(back->label, "second");
    EXPECT_EQ(live_->version().label, "second");
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, second_, options_));
    ASSERT_TRUE(live_->catch_up());
    EXPECT_FALSE(live_->rollback()) << "catching up wrote over the version before";
    ASSERT_TRUE(put_all(*live_, first_));
    EXPECT_EQ(live_->version().number, 5u);
    EXPECT_TRUE(live_->begin_update());
    EXPECT_FALSE(live_->rollback()) << "an update that was begun may have written";
  }
}

TEST_F(UpdateRules, WaitForTheReadersOfTheSlotsThatAreWritten) {
  UpdateOptions quick;
  quick.reader_timeout = std::chrono::milliseconds(1);
  const Snapshot old = live_->pin().value();
  ASSERT_TRUE(put_all(*live_, second_));
  EXPECT_EQ(live_->begin_update(quick).error().code, ErrorCode::kBusy);
  EXPECT_EQ(live_->catch_up(quick.reader_timeout).error().code, ErrorCode::kBusy);
  EXPECT_EQ(digest_of(*live_, old).model, cold_digest(model_, first_, options_));
}

TEST_F(UpdateRules, OfFencedCommitsWaitForEveryReader) {
  for (const CommitMode mode : {CommitMode::kCopy, CommitMode::kInPlace}) {
    start("int8_per_channel", mode);
    UpdateOptions quick;
    quick.reader_timeout = std::chrono::milliseconds(1);
    {
      const Snapshot reader = live_->pin().value();
      EXPECT_EQ(put_all(*live_, second_, quick).error().code, ErrorCode::kBusy);
      EXPECT_EQ(digest_of(*live_, reader).model, cold_digest(model_, first_, options_));
    }
    EXPECT_TRUE(live_->pin()) << "the gate is open again";
    ASSERT_TRUE(put_all(*live_, second_, quick));
    const Snapshot reader = live_->pin().value();
    EXPECT_EQ(put_all(*live_, first_, quick).error().code, ErrorCode::kBusy) << "of the other table, too";
  }
}

TEST_F(UpdateRules, TheBudgetIsWhatPiecesMayHold) {
  UpdateOptions options = scope({kUp});
  options.staging_budget_bytes = 32;  // a row
  const TensorView up = second_.view(kUp);
  const auto put_halves = [&](uint64_t budget, bool rows_one_by_one) {
    options.staging_budget_bytes = budget;
    auto update = live_->begin_update(options);
    Status status;
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t row = 0; row < 24 && status; ++row) {
        if (rows_one_by_one) {
          if (half == 0) status = put_run(*update, kUp, up, row * 16, 8);
          if (half == 0 && status) status = put_run(*update, kUp, up, row * 16 + 8, 8);
        } else {
          status = put_run(*update, kUp, up, row * 16 + half * 8, 8);
        }
      }
    }
    return status ? code_of(update->prepare()) : status.error().code;
  };
  EXPECT_EQ(put_halves(32, true), ErrorCode::kInternal) << "a row's budget comes back when it is whole";
  EXPECT_EQ(put_halves(31, true), ErrorCode::kResourceExhausted);
  EXPECT_EQ(put_halves(24 * 32, false), ErrorCode::kInternal);
  EXPECT_EQ(put_halves(24 * 32 - 1, false), ErrorCode::kResourceExhausted);
  start("int8_per_tensor");
  options.scope = {"model.layers.1.mlp"};
  options.staging_budget_bytes = 24 * 32 + 100;
  auto update = live_->begin_update(options);
  const std::string gate = "model.layers.1.mlp.gate_proj.weight",
                    down = "model.layers.1.mlp.down_proj.weight";
  ASSERT_TRUE(update->put(down, second_.view(down))) << "alone in its matrix: let go at once";
  ASSERT_TRUE(update->put(kUp, up));
  EXPECT_EQ(code_of(update->put(gate, second_.view(gate))), ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace liveweight::testing
