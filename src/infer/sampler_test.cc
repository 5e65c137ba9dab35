#include "infer/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace liveweight {
namespace {

using testing::AllOf;
using testing::HasSubstr;

SamplingParameters sampled(double temperature, int64_t top_k = 0, double top_p = 1, uint64_t seed = 5) {
  SamplingParameters parameters;
  parameters.temperature = temperature;
  parameters.top_k = top_k;
  parameters.top_p = top_p;
  parameters.seed = seed;
  return parameters;
}

std::map<int32_t, double> frequencies(const SamplingParameters& parameters,
                                      const std::vector<float>& logits) {
  constexpr int kDraws = 40'000;
  Sampler sampler(parameters);
  std::map<int32_t, double> counts;
  for (int i = 0; i < kDraws; ++i) counts[sampler.next(logits)] += 1.0 / kDraws;
  return counts;
}

// Probabilities 0.1, 0.4, 0.2 and 0.3.
const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};

void expect_frequencies(const std::map<int32_t, double>& got, const std::map<int32_t, double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [token, probability] : expected) EXPECT_NEAR(got.at(token), probability, 0.01) << token;
}

TEST(SamplerTest, temperature_zero_takes_the_largest_and_the_lowest_of_equals) {
  EXPECT_EQ(Sampler(sampled(0)).next(kLogits), 1);
  EXPECT_EQ(Sampler(sampled(0)).next(std::vector<float>{0, 2, 2, 1}), 1);
}

TEST(SamplerTest, temperature_one_draws_from_the_softmax) {
  expect_frequencies(frequencies(sampled(1), kLogits), {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
}

TEST(SamplerTest, temperature_divides_the_logits) {
  const double sum = 0.01 + 0.16 + 0.04 + 0.09;
  expect_frequencies(frequencies(sampled(0.5), kLogits),
                     {{0, 0.01 / sum}, {1, 0.16 / sum}, {2, 0.04 / sum}, {3, 0.09 / sum}});
}

TEST(SamplerTest, top_k_keeps_the_k_likeliest) {
  expect_frequencies(frequencies(sampled(1, 2), kLogits), {{1, 4.0 / 7}, {3, 3.0 / 7}});
}

TEST(SamplerTest, top_p_keeps_the_fewest_that_reach_it) {
  expect_frequencies(frequencies(sampled(1, 0, 0.6), kLogits), {{1, 4.0 / 7}, {3, 3.0 / 7}});
  expect_frequencies(frequencies(sampled(1, 0, 0.75), kLogits), {{1, 4.0 / 9}, {2, 2.0 / 9}, {3, 3.0 / 9}});
  expect_frequencies(frequencies(sampled(1, 0, 1e-9), kLogits), {{1, 1.0}});
}

TEST(SamplerTest, top_p_counts_what_top_k_left) {
  // Of 4/9, 3/9 and 2/9 the first two reach 0.7; of all four they would not.
  expect_frequencies(frequencies(sampled(1, 3, 0.71), kLogits), {{1, 4.0 / 7}, {3, 3.0 / 7}});
}

TEST(SamplerTest, equal_seeds_give_equal_tokens_and_others_do_not) {
  const auto draw = [](uint64_t seed) {
    Sampler sampler(sampled(1, 0, 1, seed));
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.next(kLogits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(SamplerTest, parameters_out_of_range_are_named) {
  const auto message = [](const SamplingParameters& parameters) {
    const Status status = check_sampling(parameters, 100);
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_THAT(message(sampled(-1)), AllOf(HasSubstr("temperature"), HasSubstr("-1")));
  EXPECT_THAT(message(sampled(NAN)), HasSubstr("temperature"));
  EXPECT_THAT(message(sampled(1, -2)), HasSubstr("top_k"));
  EXPECT_THAT(message(sampled(1, 0, 0)), HasSubstr("top_p"));
  EXPECT_THAT(message(sampled(1, 0, 1.5)), HasSubstr("top_p"));
  SamplingParameters parameters;
  parameters.max_new_tokens = 0;
  EXPECT_THAT(message(parameters), HasSubstr("max_new_tokens"));
  parameters.max_new_tokens = 1;
  parameters.logprobs = 101;
  EXPECT_THAT(message(parameters), HasSubstr("logprobs"));
}

TEST(SamplerTest, top_logprobs_come_likeliest_first) {
  const auto top = top_logprobs(kLogits, 0, 2);
  EXPECT_THAT(top, testing::ElementsAre(TokenLogprob{1, kLogits[1]}, TokenLogprob{3, kLogits[3]}));
}

}  // namespace
}  // namespace liveweight
