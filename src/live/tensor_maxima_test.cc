// Matrices with one scale, encoded with the maximum of the update before while theirs is looked for.
#include "live/tensor_maxima.h"

#include <gtest/gtest.h>

#include "live/delivery.h"

namespace liveweight::testing {
namespace {

const std::string kGate = "model.layers.0.mlp.gate_proj.weight";
const std::string kUp = "model.layers.0.mlp.up_proj.weight";
constexpr int64_t kHidden = 512, kIntermediate = 640;  // more than one job for each
constexpr int64_t kLast = kHidden * kIntermediate - 1;

class TensorMaximaOf : public ::testing::TestWithParam<std::tuple<const char*, CommitMode>> {
 protected:
  TensorMaximaOf() : model_(one_layer_llama(kHidden, kIntermediate)) {
    weights_ = model_.weights(random_);
    options_.quantization = QuantizationConfig::uniform(parse_scheme(std::get<0>(GetParam())).value());
    options_.mode = std::get<1>(GetParam());
    live_ = make_model(model_, weights_.catalog(), options_).value();
  }

  void expect_as_cold(const char* what) {
    ASSERT_TRUE(put_all(*live_, weights_)) << what;
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, weights_, options_)) << what;
  }

  Random random_{1};
  const RandomModel model_;
  Weights weights_;
  PlanOptions options_;
  std::unique_ptr<LiveModel> live_;
};

TEST_P(TensorMaximaOf, ReloadsHaveTheBitsOfAColdLoadWhereverTheMaximumGoes) {
  weights_.set(kGate, 7, 1000.0f);
  expect_as_cold("first");
  weights_.set(kUp, 3, 0.5f);
  expect_as_cold("the maximum stays");
  weights_.set(kUp, kLast, 2000.0f);
  expect_as_cold("it grows in the last job");
  weights_.set(kGate, 0, 0.25f);
  expect_as_cold("it stays after it has grown");
  weights_.set(kGate, 8, -0.25f);
  expect_as_cold("and stays again");
  weights_.set(kUp, kLast, 1.0f);
  expect_as_cold("it shrinks");
  weights_.set(kUp, 5, 0.125f);
  expect_as_cold("and stays");
  weights_.set(kGate, 7, 0.0f);
  weights_.set(kUp, kLast, -1000.0f);
  expect_as_cold("it moves to the other tensor and changes its sign");
  for (const std::string& name : {kGate, kUp}) {
    for (std::byte& byte : weights_.tensors.at(name).bytes) byte = std::byte{};
  }
  expect_as_cold("all becomes zero");
  expect_as_cold("and stays zero");
  weights_.set(kUp, 0, 1.0f);
  expect_as_cold("and is zero no more");
}

TEST_P(TensorMaximaOf, WhatARefusedUpdateFoundHarmsNoLaterOne) {
  expect_as_cold("first");
  expect_as_cold("again");
  Weights bad = weights_;
  bad.set(kGate, 1, 3000.0f);
  bad.set("model.layers.0.mlp.down_proj.weight", kLast, std::numeric_limits<float>::infinity());
  EXPECT_FALSE(put_all(*live_, bad));
  expect_as_cold("after the refusal");
  expect_as_cold("and again");
}

INSTANTIATE_TEST_SUITE_P(Schemes, TensorMaximaOf,
                         ::testing::Combine(::testing::Values("fp8_per_tensor", "int8_per_tensor"),
                                            ::testing::ValuesIn(kCommitModes)));

}  // namespace
}  // namespace liveweight::testing
