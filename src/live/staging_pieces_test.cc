// Pieces that cut a quantization unit apart: what they wait for, what they hold, and what comes of them.
#include <gtest/gtest.h>

#include "live/delivery.h"
#include "live/held_matrices.h"
#include "quantize/unit_layout.h"

namespace liveweight::testing {
namespace {

const std::string kUp = "model.layers.0.mlp.up_proj.weight";      // [intermediate, 16]
const std::string kDown = "model.layers.0.mlp.down_proj.weight";  // [16, intermediate]

class StagingPieces : public ::testing::Test {
 protected:
  void start(const char* scheme, int intermediate, CommitMode mode = CommitMode::kFlip,
             TensorParallel group = {}) {
    Random random(1);
    const RandomModel model(fmt::format(
        R"({{"architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": {},
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
            "vocab_size": 32, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}})",
        intermediate));
    weights_ = model.weights(random);
    const PlanOptions options{QuantizationConfig::uniform(parse_scheme(scheme).value()), group, mode};
    whole_ = make_model(model, weights_.catalog(), options).value();
    live_ = make_model(model, weights_.catalog(), options).value();
    first_ = model.weights(random);
    ASSERT_TRUE(put_all(*live_, first_));
  }
  // The rest whole, one tensor as `pieces` puts it.
  Result<UpdateReport> put_in_pieces(const std::string& name, const std::function<Status(Update&)>& pieces,
                                     uint64_t budget = 64 << 20) {
    UpdateOptions options;
    options.staging_budget_bytes = budget;
    LW_ASSIGN(Update update, live_->begin_update(options));
    for (const auto& [other, entry] : weights_.tensors) {
      if (other != name) LW_TRY(update.borrow(other, weights_.view(other)));
    }
    LW_TRY(pieces(update));
    return update.commit();
  }
  void expect_same_as_whole(const std::string& name, const std::vector<Region>& regions) {
    const auto report = put_in_pieces(name, [&](Update& update) -> Status {
      for (const Region& region : regions) LW_TRY(put_region(update, name, weights_.view(name), region));
      return {};
    });
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_TRUE(put_all(*whole_, weights_));
    EXPECT_EQ(digest_of(*live_)->model, digest_of(*whole_)->model);
  }

  Weights weights_, first_;
  std::unique_ptr<LiveModel> live_, whole_;
};

TEST_F(StagingPieces, RowsOfABlockComeOneByOneInAnyOrder) {
  start("fp8_per_block", 24);
  std::vector<Region> rows;
  for (int64_t row = 23; row >= 0; --row) rows.push_back({{row, 0}, {1, 16}});
  expect_same_as_whole(kUp, rows);
}

TEST_F(StagingPieces, GroupsThatShareAByteComeApart) {
  for (const bool backwards : {false, true}) {
    start("int4_per_group:7", 24);
    std::vector<Region> columns = {{{0, 0}, {24, 7}}, {{0, 7}, {24, 7}}, {{0, 14}, {24, 2}}};
    if (backwards) std::reverse(columns.begin(), columns.end());
    expect_same_as_whole(kUp, columns);
  }
}

TEST_F(StagingPieces, GroupsThatShareAByteOfARankThatBeginsAtAnOddColumnComeApart) {
  for (const bool backwards : {false, true}) {
    start("int4_per_group:4", 18, CommitMode::kFlip, {2, 1});
    std::vector<Region> columns;
    for (int64_t col = 0; col < 18; col += 4) {
      columns.push_back({{0, col}, {16, std::min<int64_t>(4, 18 - col)}});
    }
    if (backwards) std::reverse(columns.begin(), columns.end());
    expect_same_as_whole(kDown, columns);
  }
}

TEST_F(StagingPieces, GroupsThatShareAByteAreOneUnitSinceThreadsMayWriteThem) {
  const auto unit_columns = [&](const std::string& name) {
    const Plan::Implementation& plan = live_->plan().implementation();
    return plan.sources[plan.find_source(name)].targets[0].tile_cols;
  };
  start("int4_per_group:7", 24);
  EXPECT_EQ(unit_columns(kUp), 16);
  start("int4_per_group:4", 18, CommitMode::kFlip, {2, 1});
  EXPECT_EQ(unit_columns(kDown), 18) << "this rank begins at column 9";
  start("int4_per_group:4", 24, CommitMode::kFlip, {2, 1});
  EXPECT_EQ(unit_columns(kDown), 4) << "at column 12";
}

TEST_F(StagingPieces, AMatrixWithOneScaleWaitsForItsLastElement) {
  for (const char* scheme : {"fp8_per_tensor", "int8_per_tensor"}) {
    start(scheme, 24);
    weights_.set(kDown, 16 * 24 - 1, 9.0f);
    const auto report = put_in_pieces(kDown, [&](Update& update) -> Status {
      LW_TRY(put_run(update, kDown, weights_.view(kDown), 0, 16 * 24 - 1));
      return put_run(update, kDown, weights_.view(kDown), 16 * 24 - 1, 1);
    });
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_TRUE(put_all(*whole_, weights_));
    EXPECT_EQ(digest_of(*live_)->model, digest_of(*whole_)->model) << scheme;
  }
}

TEST_F(StagingPieces, AWholeTensorWhoseLastUnitIsShortNeedsNoBudget) {
  start("fp8_per_block", 24);
  const auto report = put_in_pieces(
      kUp, [&](Update& update) { return update.put(kUp, weights_.view(kUp)); }, 1);
  EXPECT_TRUE(report) << report.error().message;
}

TEST_F(StagingPieces, NemosEdgeBlocksAreFilledWithTheLastElement) {
  start("fp8_per_block@nemo", 130);
  weights_.set(kUp, 130 * 16 - 1, 50.0f);
  ASSERT_TRUE(put_all(*live_, weights_));
  const int64_t p = live_->plan().find(Role::kGateUp, 0);
  const KernelFormat& format = *live_->plan().parameters()[p].format;
  const std::byte* slot = live_->pin()->table().slots[p];
  const auto scale_of_row = [&](int64_t source_row) {
    const int64_t row = scale_row_of(format, format.segments[1], source_row);
    return load_high_precision(format.scale.dtype, slot + row_offset(format.scale, 0, row), 0);
  };
  EXPECT_EQ(scale_of_row(0), scale_of_row(128)) << "the first block's columns are cut short, too";
}

TEST_F(StagingPieces, ThatWerePutTogetherGiveTheirBudgetBack) {
  start("fp8_per_block@nemo", 24);
  const uint64_t bytes = 24 * 16 * 2;
  UpdateOptions options;
  options.scope = {kUp, kDown};
  options.staging_budget_bytes = 2 * bytes;
  auto update = live_->begin_update(options);
  for (const std::string& name : {kUp, kDown}) {
    for (const int64_t first : {0, 192}) {
      const Status status = put_run(*update, name, weights_.view(name), first, 192);
      ASSERT_TRUE(status) << status.error().message;
    }
  }
  EXPECT_TRUE(update->commit());
}

TEST_F(StagingPieces, ACopyOfAStridedPieceHasNoGaps) {
  Source source;
  source.dtype = DType::kU8;
  std::vector<std::byte> data(4 * 5);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  const Piece piece{1, 3, 2, 2, data.data() + 5 + 2, 5};
  MemoryMeter meter(6);
  const HeldPiece held = copy_piece(0, source, piece, meter).value();
  for (int64_t row = 1; row < 4; ++row) {
    for (int64_t col = 2; col < 4; ++col) {
      EXPECT_EQ(*element_at(source, held.piece, row, col), data[static_cast<size_t>(row * 5 + col)]);
    }
  }
  EXPECT_FALSE(copy_piece(0, source, piece, meter)) << "past the budget";
}

TEST_F(StagingPieces, ErrorsNameAnElementByAsManyNumbersAsTheTensorHasDimensions) {
  Source source;
  EXPECT_EQ(position_text(source, 0, 0), "[]");
  source.shape = {4};
  EXPECT_EQ(position_text(source, 3, 0), "[3]");
  source.shape = {4, 8};
  EXPECT_EQ(position_text(source, 3, 7), "[3, 7]");
}

TEST_F(StagingPieces, AnEmptyRegionIsNoPiece) {
  Source source;
  source.shape = {4, 8};
  source.rows = 4, source.cols = 8;
  const auto pieces = region_pieces(source, {DType::kBF16, {0, 8}, nullptr, 0}, {{2, 0}, {0, 8}});
  ASSERT_TRUE(pieces);
  EXPECT_EQ(pieces->size(), 0u);
}

TEST_F(StagingPieces, InPlaceAScaleOfBF16ThatOverflowsIsRefusedBeforeTheModelIsTouched) {
  start("int4_per_group:16@torchao", 32, CommitMode::kInPlace);
  const Digest before = digest_of(*live_)->model;
  weights_.set(kDown, 0, 3e38f);
  weights_.set(kDown, 1, -3e38f);
  const auto report = put_all(*live_, weights_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kNonFinite) << report.error().message;
  const auto after = digest_of(*live_);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->model, before);
}

}  // namespace
}  // namespace liveweight::testing
