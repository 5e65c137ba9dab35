#include "quantize/element_batch.h"

#include <gtest/gtest.h>

#include <random>

#include "quantize/random_matrix.h"

namespace liveweight {
namespace {

std::vector<ElementRule> all_rules() {
  std::vector<ElementRule> rules;
  for (const char* name : {"int8_per_channel", "int8_per_tensor", "int4_per_group", "fp8_per_tensor",
                           "fp8_per_channel", "fp8_per_block"}) {
    Scheme scheme = parse_scheme(name).value();
    for (const Profile profile : profiles_of(scheme.element, scheme.granularity)) {
      scheme.profile = profile;
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) rules.emplace_back(scheme, dtype);
    }
  }
  return rules;
}

// A unit's largest magnitude, and an element of the unit.
struct Drawn {
  float largest, x;
};

Drawn draw(std::mt19937_64& random, const ElementRule& rule) {
  std::uniform_real_distribution<float> unit(0, 1);
  const float size = rule.source == DType::kF16 ? 12.0f : 30.0f;
  const float largest = round_to(rule.source, std::exp2((unit(random) * 2 - 1) * size));
  const float x = round_to(rule.source, largest * unit(random) * (unit(random) < 0.5f ? -1.0f : 1.0f));
  switch (random() % 8) {
    case 0:
      return {largest, -largest};
    case 1:
      return {largest, random() % 2 ? 0.0f : -0.0f};
    case 2:
      return {0, 0};
    default:
      return {largest, x};
  }
}

class ElementBatchOn : public TargetTest {};

TEST_P(ElementBatchOn, HasTheOraclesCodesAndMasksForEveryProfileAndDtype) {
  std::mt19937_64 random(3);
  for (const ElementRule& rule : all_rules()) {
    if (!rule.from_scale) continue;
    for (int round = 0; round < 200; ++round) {
      ElementBatch fast;
      const auto count = static_cast<int64_t>(random() % kElementBatch + 1);
      for (int64_t i = 0; i < count; ++i) {
        const Drawn drawn = draw(random, rule);
        store_high_precision(rule.source, fast.elements, i, drawn.x);
        fast.scale[i] = rule.scale_of(drawn.largest);
        fast.old_code[i] = static_cast<uint8_t>(random());
      }
      ElementBatch oracle = fast;
      encode_elements(rule, fast, count);
      encode_elements_reference(rule, oracle, count);
      ASSERT_EQ(fast.large, oracle.large);
      ASSERT_EQ(fast.unclear, oracle.unclear);
      ASSERT_EQ(fast.like_zeros, oracle.like_zeros);
      ASSERT_EQ(fast.decided, oracle.decided);
      for (int64_t i = 0; i < count; ++i) {
        const bool clear = (fast.unclear >> i & 1) == 0;
        ASSERT_TRUE(!clear || fast.code[i] == oracle.code[i]) << i;
      }
    }
  }
}

ElementRule rule_of(const char* scheme, DType source) {
  return {parse_scheme(scheme).value(), source};
}

// Whether encode_elements calls all elements of units of that scale unclear, and the oracle as well.
bool unclear(const ElementRule& rule, float scale) {
  ElementBatch fast;
  std::fill(std::begin(fast.scale), std::end(fast.scale), scale);
  ElementBatch oracle = fast;
  encode_elements(rule, fast, kElementBatch);
  encode_elements_reference(rule, oracle, kElementBatch);
  EXPECT_EQ(fast.unclear, oracle.unclear) << scale;
  return fast.unclear != 0;
}

TEST_P(ElementBatchOn, FindsAScaleThatNoMagnitudeGivesUnclear) {
  for (const char* scheme : {"fp8_per_block@nemo", "fp8_per_block@verl"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      const ElementRule rule = rule_of(scheme, dtype);
      const float scale = rule.scale_of(1.5f);
      EXPECT_FALSE(unclear(rule, scale)) << scheme;
      EXPECT_TRUE(unclear(rule, std::nextafter(scale, INFINITY))) << scheme;
      EXPECT_TRUE(unclear(rule, std::nextafter(scale, 0.0f))) << scheme;
    }
  }
}

TEST_P(ElementBatchOn, FindsScalesFromTwoToTheHundredthOnUnclear) {
  for (const char* scheme : {"fp8_per_channel@vllm", "fp8_per_tensor@vllm", "int8_per_channel@vllm"}) {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      EXPECT_FALSE(unclear(rule_of(scheme, dtype), 0x1p100f)) << scheme;
      EXPECT_TRUE(unclear(rule_of(scheme, dtype), 0x1.02p100f)) << scheme;
      EXPECT_TRUE(unclear(rule_of(scheme, dtype), 0x1p118f)) << scheme;
    }
  }
}

LIVEWEIGHT_INSTANTIATE_TARGETS(ElementBatchOn, testing::kTargets);

// What a delta relies on: where the scale is clear, it tells all of the unit's numbers; an element that is
// not large changes no scale; and the code of one that decides the scale says so.
TEST(ElementBatch, TellsFromTheScaleAloneWhatTheWholeUnitTells) {
  std::mt19937_64 random(4);
  for (const ElementRule& rule : all_rules()) {
    if (!rule.from_scale) continue;
    for (int round = 0; round < 20'000; ++round) {
      const Drawn drawn = draw(random, rule);
      const UnitScale unit =
          make_unit_scale(rule.rule, rule.source, {drawn.largest, -drawn.largest, drawn.largest});
      if (!unit.finite) continue;
      ElementBatch batch;
      store_high_precision(rule.source, batch.elements, 0, drawn.x);
      batch.scale[0] = unit.scale;
      encode_elements_reference(rule, batch, 1);
      if (batch.unclear) continue;
      const uint8_t expected =
          rule.element == Element::kE4M3
              ? encode_e4m3(rule.rule, rule.source, unit, drawn.x)
              : static_cast<uint8_t>(encode_integer(rule.rule, rule.source, unit, drawn.x) +
                                     (rule.element == Element::kInt4 ? 8 : 0));
      ASSERT_EQ(batch.code[0], expected);
      if (batch.like_zeros && rule.is_zero(expected)) continue;
      const float own = rule.scale_of(std::fabs(drawn.x));
      if (own == unit.scale && unit.scale != rule.floor) {
        ASSERT_TRUE(batch.large);
        ASSERT_TRUE(rule.may_decide(expected)) << drawn.x << " of " << drawn.largest;
      }
    }
  }
}

// Why another code than zero tells that a unit is none of zeros, whatever its scale is.
TEST(ElementBatch, HasOnlyZeroCodesInUnitsThatAreTooSmallForAScale) {
  for (const ElementRule& rule : all_rules()) {
    if (rule.scale_like_zeros < 0) continue;
    UnitScale zeros = make_unit_scale(rule.rule, rule.source, {});
    ASSERT_EQ(zeros.scale, rule.scale_like_zeros);
    int units = 0;
    for (float x = 0x1p-149f; x < zeros.scale; x *= 1.001f + 0x1p-149f / x) {
      const float largest = round_to(rule.source, x);
      if (rule.scale_of(largest) != zeros.scale) continue;
      ++units;
      for (const float element : {largest, -largest}) {
        ASSERT_EQ(encode_integer(rule.rule, rule.source, zeros, element), 0) << element;
      }
    }
    EXPECT_GT(units, 0);
  }
}

// Why a factor is never taken from such a scale.
TEST(ElementBatch, LeavesFp32UnitsToWholeUnitsWhereNeighboursShareAScaleButNotAFactor) {
  for (const char* scheme : {"fp8_per_block@nemo", "fp8_per_block@verl"}) {
    const ElementRule rule = rule_of(scheme, DType::kF32);
    const auto numbers_of = [&](float largest) {
      return make_unit_scale(rule.rule, DType::kF32, {largest, 0, 0});
    };
    bool shared = false;
    for (float largest = 1; largest < 1.001f && !shared; largest = std::nextafter(largest, 2.0f)) {
      const UnitScale one = numbers_of(largest), next = numbers_of(std::nextafter(largest, 2.0f));
      shared = one.scale == next.scale && one.factor != next.factor;
    }
    EXPECT_TRUE(shared) << scheme;
    EXPECT_FALSE(rule.from_scale) << scheme;
  }
}

}  // namespace
}  // namespace liveweight
