// I3 and I6 over random models: whatever goes wrong with an update, and whenever, the model is what it was,
// and the next good update works.
#include <gmock/gmock.h>

#include "live/delivery.h"

namespace liveweight::testing {
namespace {

// What the program that runs an update does wrong. `part` of the deliveries have been made when it happens.
struct Fault {
  const char* name;
  ErrorCode code;
  // Makes what is delivered wrong, or does a wrong thing to the open update.
  std::function<void(Random&, Weights&, UpdateOptions&)> before;
  std::function<Status(Random&, const Weights&, Update&)> during;
  bool needs_next_slots = false;  // means nothing in the mode `in_place`
};

std::string any_name(Random& random, const Weights& weights) {
  return std::next(weights.tensors.begin(),
                   between(random, 0, static_cast<int64_t>(weights.tensors.size()) - 1))
      ->first;
}

std::function<void(Random&, Weights&, UpdateOptions&)> with_value(float value) {
  return [value](Random& random, Weights& weights, UpdateOptions&) {
    const std::string name = any_name(random, weights);
    weights.set(name, between(random, 0, element_count(weights.tensors.at(name).shape) - 1), value);
  };
}

void with_another_tensor(Random& random, Weights& weights, UpdateOptions&) {
  weights.tensors["model.layers.0.nothing.weight"] = weights.tensors.at(any_name(random, weights));
}

void without_a_tensor(Random& random, Weights& weights, UpdateOptions&) {
  weights.tensors.erase(any_name(random, weights));
}

void in_other_integers(Random& random, Weights& weights, UpdateOptions&) {
  auto& entry = weights.tensors.at(any_name(random, weights));
  entry.dtype = entry.dtype == DType::kF32 ? DType::kI32 : DType::kI16;
}

void on_another_version(Random&, Weights&, UpdateOptions& options) {
  options.base_version = 1'000'000;
}

void with_another_digest(Random&, Weights&, UpdateOptions& options) {
  options.expected_digest = Digest{};
}

void of_a_module_that_is_not_there(Random&, Weights&, UpdateOptions& options) {
  options.scope = {"model.layers.99"};
}

Status with_a_row_too_few(Random& random, const Weights& weights, Update& update) {
  const std::string name = any_name(random, weights);
  TensorView view = weights.view(name);
  view.bytes = view.bytes / static_cast<size_t>(view.shape[0]) * static_cast<size_t>(view.shape[0] - 1);
  view.shape[0] -= 1;
  return update.borrow(name, view);
}

Status twice(Random& random, const Weights& weights, Update& update) {
  const std::string name = any_name(random, weights);
  LW_TRY(update.borrow(name, weights.view(name)));
  return update.borrow(name, weights.view(name));
}

Status beyond_the_end(Random& random, const Weights& weights, Update& update) {
  const std::string name = any_name(random, weights);
  TensorView row = weights.view(name);
  Region region{Shape(row.shape.size(), 0), row.shape};
  region.start[0] = 1;
  return update.put(name, row, region);
}

Status with_fewer_bytes_than_its_shape(Random& random, const Weights& weights, Update& update) {
  const std::string name = any_name(random, weights);
  TensorView view = weights.view(name);
  view.bytes -= 1;
  return update.borrow(name, view);
}

Status aborted(Random&, const Weights&, Update& update) {
  update.abort();
  return {};
}

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {
      {"a NaN", ErrorCode::kNonFinite, with_value(NAN), {}},
      {"an infinity", ErrorCode::kNonFinite, with_value(-INFINITY), {}},
      {"an unknown tensor", ErrorCode::kUnknownTensor, with_another_tensor, {}},
      {"a missing tensor", ErrorCode::kMissingTensor, without_a_tensor, {}},
      {"a row too few", ErrorCode::kWrongShape, {}, with_a_row_too_few},
      {"integers", ErrorCode::kWrongDtype, in_other_integers, {}},
      {"another base", ErrorCode::kStaleVersion, on_another_version, {}},
      {"another digest", ErrorCode::kDigestMismatch, with_another_digest, {}, true},
      {"an unknown scope", ErrorCode::kUnknownTensor, of_a_module_that_is_not_there, {}},
      {"a tensor twice", ErrorCode::kDuplicateTensor, {}, twice},
      {"a region beyond the end", ErrorCode::kWrongShape, {}, beyond_the_end},
      {"fewer bytes than its shape", ErrorCode::kWrongShape, {}, with_fewer_bytes_than_its_shape},
      {"an abort", ErrorCode::kAborted, {}, aborted},
      {"an exception",
       ErrorCode::kAborted,
       {},
       [](Random&, const Weights&, Update&) -> Status { throw std::runtime_error("the source broke"); }},
  };
  return all;
}

// Whole tensors that stay where they are: the one form that costs nothing in the mode `in_place` either.
std::vector<Delivery> borrowed(Random& random, const Weights& weights) {
  std::vector<Delivery> all;
  for (const auto& [name, entry] : weights.tensors) {
    all.push_back([&, name = name](Update& update) { return update.borrow(name, weights.view(name)); });
  }
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

// Runs an update that `fault` befalls somewhere on its way.
Result<UpdateReport> run_with(const Fault& fault, Random& random, LiveModel& live, Weights weights,
                              bool in_place) {
  UpdateOptions options;
  if (fault.before) fault.before(random, weights, options);
  auto update = live.begin_update(options);
  if (!update) return tl::unexpected(update.error());
  const std::vector<Delivery> all = in_place ? borrowed(random, weights) : deliveries(random, weights);
  const auto part = static_cast<size_t>(between(random, 0, static_cast<int64_t>(all.size())));
  for (size_t i = 0; i <= all.size(); ++i) {
    if (fault.during && i == part) LW_TRY(fault.during(random, weights, *update));
    if (i < all.size()) LW_TRY(all[i](*update));
  }
  if (between(random, 0, 1)) LW_TRY(update->prepare());
  return update->commit();
}

Error error_of(const Fault& fault, Random& random, LiveModel& live, const Weights& weights, bool in_place) {
  try {
    const auto report = run_with(fault, random, live, weights, in_place);
    return report ? Error{ErrorCode::kInternal, "it was committed", {}} : report.error();
  } catch (const std::runtime_error&) {
    return {ErrorCode::kAborted, "the exception reached the caller", {}};
  }
}

TEST(Faults, LeaveTheModelAsItWasAndTheNextGoodUpdateWorks) {
  for_each_seed(168, [&](Random& random, uint64_t seed) {
    const RandomCase drawn = RandomCase::draw(random, seed);
    const Fault& fault = faults()[seed % faults().size()];
    SCOPED_TRACE(fmt::format("{}, {}", fault.name, drawn.describe(seed)));
    const bool in_place = drawn.options.mode == CommitMode::kInPlace;
    if (in_place && fault.needs_next_slots) return;
    const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
    const auto live = make_model(drawn.model, first.catalog(), drawn.options);
    ASSERT_TRUE(live) << live.error().message;
    ASSERT_TRUE(put_all(**live, first));
    const auto addresses = addresses_of(**live);
    const Digest before = digest_of(**live)->model;

    const Error error = error_of(fault, random, **live, second, in_place);
    EXPECT_EQ(error.code, fault.code) << error.message;
    const auto after = digest_of(**live);
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_EQ(after->model, before) << error.message;
    EXPECT_EQ((*live)->version().number, 1u);
    EXPECT_EQ(addresses_of(**live), addresses);

    const auto report = reload(random, **live, deliveries(random, second));
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(digest_of(**live)->model, cold_digest(drawn.model, second, drawn.options));
    EXPECT_EQ(addresses_of(**live), addresses);
  });
}

TEST(Faults, OfEveryKindNameWhatTheyAreAbout) {
  Random random(3);
  const RandomModel model(random);
  const Weights weights = model.weights(random);
  const auto live = make_model(model, weights.catalog(), {});
  ASSERT_TRUE(put_all(**live, weights));
  for (const Fault& fault : faults()) {
    if (fault.code == ErrorCode::kAborted || fault.code == ErrorCode::kStaleVersion) continue;
    const Error error = error_of(fault, random, **live, weights, false);
    EXPECT_EQ(error.code, fault.code) << fault.name;
    EXPECT_THAT(error.message, ::testing::Not(::testing::HasSubstr("\n")));
    if (fault.code == ErrorCode::kDigestMismatch) continue;
    ASSERT_FALSE(error.names.empty()) << fault.name << ": " << error.message;
    EXPECT_THAT(error.message, ::testing::HasSubstr(error.names[0])) << fault.name;
  }
}

TEST(Faults, InPiecesInPlaceCostTheVersionUntilAWholeUpdateWorks) {
  for_each_seed(30, [&](Random& random, uint64_t seed) {
    RandomCase drawn = RandomCase::draw(random, seed);
    drawn.options.mode = CommitMode::kInPlace;
    SCOPED_TRACE(drawn.describe(seed));
    const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
    const auto live = make_model(drawn.model, first.catalog(), drawn.options);
    ASSERT_TRUE(live) << live.error().message;
    ASSERT_TRUE(put_all(**live, first));
    const std::string name = any_name(random, second);
    {
      auto update = (*live)->begin_update();
      ASSERT_TRUE(update);
      ASSERT_TRUE(update->put(name, second.view(name)));
      if (between(random, 0, 1)) {
        ASSERT_FALSE(update->put(name, second.view(name)));
        EXPECT_EQ((*live)->pin().error().code, ErrorCode::kFailedState)
            << "nobody waits for an update that failed";
      }
    }
    EXPECT_EQ((*live)->pin().error().code, ErrorCode::kFailedState);
    ASSERT_TRUE(reload(random, **live, deliveries(random, second)));
    EXPECT_EQ(digest_of(**live)->model, cold_digest(drawn.model, second, drawn.options));
  });
}

TEST(Faults, BuffersThatPassTheirBudgetAreRefusedAndTheModelStays) {
  Random random(11);
  RandomCase drawn = RandomCase::draw(random, 11);
  drawn.options.quantization = QuantizationConfig::uniform(parse_scheme("fp8_per_block").value());
  drawn.options.mode = CommitMode::kFlip;
  const Weights first = drawn.model.weights(random), second = drawn.model.weights(random);
  const auto live = make_model(drawn.model, first.catalog(), drawn.options);
  ASSERT_TRUE(put_all(**live, first));
  const Digest before = digest_of(**live)->model;
  UpdateOptions options;
  options.staging_budget_bytes = 16;
  auto update = (*live)->begin_update(options);
  ASSERT_TRUE(update);
  // One row of a block of 128: the rest of the block has to wait somewhere.
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  const std::string expert = "model.layers.0.mlp.experts.0.down_proj.weight";
  const std::string mixtral = "model.layers.0.block_sparse_moe.experts.0.w2.weight";
  const std::string& there = second.tensors.count(name)     ? name
                             : second.tensors.count(expert) ? expert
                                                            : mixtral;
  const Status status = put_run(*update, there, second.view(there), 0, second.view(there).shape[1]);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(status.error().names, std::vector<std::string>{there});
  EXPECT_EQ(update->commit().error().code, ErrorCode::kResourceExhausted) << "the first error stays";
  update->abort();
  EXPECT_EQ(digest_of(**live)->model, before);
  ASSERT_TRUE(put_all(**live, second));
}

// Rolls back, partially updates, aborts and reloads at random, beside a plain model of what must hold.
TEST(Faults, MixedWithRollbacksAndReloadsKeepTheVersionsInOrder) {
  for_each_seed(30, [&](Random& random, uint64_t seed) {
    RandomCase drawn = RandomCase::draw(random, seed);
    if (drawn.options.mode == CommitMode::kInPlace) drawn.options.mode = CommitMode::kFlip;
    SCOPED_TRACE(drawn.describe(seed));
    std::vector<Weights> weights;
    std::vector<Digest> digests;
    for (int i = 0; i < 3; ++i) {
      weights.push_back(drawn.model.weights(random));
      digests.push_back(cold_digest(drawn.model, weights.back(), drawn.options));
    }
    const auto live = make_model(drawn.model, weights[0].catalog(), drawn.options);
    ASSERT_TRUE(live) << live.error().message;
    ASSERT_TRUE(put_all(**live, weights[0]));
    size_t current = 0, previous = 0;
    bool can_roll_back = false;
    for (int step = 0; step < 12; ++step) {
      const int64_t what = between(random, 0, 2);
      if (what == 0) {
        const auto to = static_cast<size_t>(between(random, 0, 2));
        ASSERT_TRUE(reload(random, **live, deliveries(random, weights[to])));
        previous = std::exchange(current, to);
        can_roll_back = true;
      } else if (what == 1) {
        const Fault& fault = one_of(random, faults());
        const uint64_t number = (*live)->version().number;
        const bool begins = fault.code != ErrorCode::kStaleVersion && fault.before != nullptr &&
                            std::string_view(fault.name) != "an unknown scope";
        ASSERT_EQ(error_of(fault, random, **live, weights[1], false).code, fault.code) << fault.name;
        EXPECT_EQ((*live)->version().number, number);
        can_roll_back = can_roll_back && !begins && fault.during == nullptr;
      } else {
        const auto version = (*live)->rollback();
        ASSERT_EQ(version.has_value(), can_roll_back) << step;
        if (version) std::swap(current, previous);
      }
      ASSERT_EQ(digest_of(**live)->model, digests[current]) << "step " << step;
    }
  });
}

}  // namespace
}  // namespace liveweight::testing
