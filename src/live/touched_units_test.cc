#include "live/touched_units.h"

#include <gtest/gtest.h>

#include <set>

#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

// By marking every element that a rank keeps, and every one that changed.
std::set<std::pair<int64_t, int64_t>> units_at(const Source& source, const Scheme& scheme,
                                               const std::function<bool(int64_t, int64_t)>& marked) {
  const bool block = scheme.granularity == Granularity::kBlock;
  const bool split = block || scheme.granularity == Granularity::kGroup;
  std::set<std::pair<int64_t, int64_t>> units;
  for (int64_t row = 0; row < source.rows; ++row) {
    for (int64_t col = 0; col < source.cols; ++col) {
      if (marked(row, col)) units.emplace(block ? row / scheme.size : row, split ? col / scheme.size : 0);
    }
  }
  return units;
}

uint64_t kept_units_with_a_change(const Source& source, const Target& target, const KernelFormat& format,
                                  const TensorDelta& delta) {
  const std::set<uint32_t> positions(delta.positions.begin(), delta.positions.end());
  const auto changed = units_at(source, format.scheme, [&](int64_t row, int64_t col) {
    return positions.contains(static_cast<uint32_t>(row * source.cols + col));
  });
  const auto kept = units_at(source, format.scheme, [&](int64_t row, int64_t col) {
    return col >= format.source_col && col < format.source_col + format.cols &&
           std::any_of(target.segments.begin(), target.segments.end(), [&](const Segment& segment) {
             return row >= segment.source_row && row < segment.source_row + segment.rows;
           });
  });
  uint64_t units = 0;
  for (const auto& unit : changed) units += kept.count(unit);
  return units;
}

uint64_t expected_units(const Plan::Implementation& plan, const std::vector<TensorDelta>& deltas) {
  uint64_t units = 0;
  std::set<std::pair<int32_t, int32_t>> matrices;
  for (const TensorDelta& delta : deltas) {
    const Source& source = plan.sources[plan.primary_of(plan.find_source(delta.name))];
    for (const Target& target : source.targets) {
      const KernelFormat& format = *plan.parameters[target.parameter].format;
      if (!format.scheme.quantizes()) continue;
      if (format.scheme.granularity == Granularity::kTensor) {
        matrices.emplace(target.parameter, target.matrix);
      } else {
        units += kept_units_with_a_change(source, target, format, delta);
      }
    }
  }
  return units + matrices.size();
}

TEST(TouchedUnits, AreThoseOfWhichARankKeepsAnElementAndOneChanged) {
  static const std::vector<Scheme> schemes = all_schemes();
  for_each_seed(30, [&](Random& random, uint64_t seed) {
    const RandomModel model(random, 8);
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(schemes[seed % schemes.size()]);
    constexpr int64_t kSizes[] = {1, 2, 4, 8};
    options.tensor_parallel.size = one_of(random, kSizes);
    options.tensor_parallel.rank = between(random, 0, options.tensor_parallel.size - 1);
    const Weights weights = model.weights(random);
    const auto plan = Plan::compile(model.description(), weights.catalog(), options).value();
    const auto deltas = deltas_between(weights, changed(random, weights));
    EXPECT_EQ(touched_units(plan->implementation(), deltas), expected_units(plan->implementation(), deltas))
        << to_string(schemes[seed % schemes.size()]) << ", rank " << options.tensor_parallel.rank << " of "
        << options.tensor_parallel.size << ", " << model.text();
  });
}

TEST(TouchedUnits, OfADeltaWithoutChangesAreNone) {
  Random random(1);
  for (const char* scheme : {"int8_per_tensor", "int8_per_channel"}) {
    const RandomModel model(random);
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme(scheme).value());
    const Weights weights = model.weights(random);
    const auto plan = Plan::compile(model.description(), weights.catalog(), options).value();
    std::vector<TensorDelta> deltas;
    for (const auto& [name, entry] : weights.tensors)
      deltas.push_back({name, entry.dtype, entry.shape, {}, {}, {}});
    EXPECT_EQ(touched_units(plan->implementation(), deltas), 0u) << scheme;
  }
}

}  // namespace
}  // namespace liveweight::testing
