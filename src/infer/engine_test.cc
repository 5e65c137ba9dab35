// Requests: alone and together, in and out, refused and cancelled.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>

#include "infer/live_fixture.h"

namespace liveweight {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class EngineTest : public LiveTest {
 protected:
  static std::vector<Request> mixed_requests() {
    std::vector<Request> requests;
    for (int32_t i = 0; i < 7; ++i) {
      std::vector<int32_t> prompt = {1};
      for (int32_t k = 0; k < 5 * i; ++k) prompt.push_back((7 * k + 31 * i) % 512);
      Request request = greedy(std::move(prompt), 10 + 3 * i);
      request.sampling.temperature = i % 2 ? 0.8 : 0.0;
      request.sampling.top_p = i % 3 ? 0.9 : 1.0;
      request.sampling.top_k = i == 5 ? 40 : 0;
      request.sampling.seed = 100 + i;
      request.sampling.logprobs = i % 3;
      requests.push_back(std::move(request));
    }
    return requests;
  }

  static std::string refusal(Engine& engine, Request request) {
    const auto id = engine.submit(std::move(request));
    if (id) return "";
    EXPECT_EQ(id.error().code, ErrorCode::kInvalidArgument);
    return id.error().message;
  }
};

TEST_F(EngineTest, stories_equal_the_published_text) {
  const auto model = load("stories260k", "none");
  const auto engine = engine_of(*model);
  const auto tokens = expected<int32_t>("stories260k.expected.safetensors", "greedy_tokens");
  const auto logits = expected<float>("stories260k.expected.safetensors", "greedy_logits");
  const auto completion = engine->generate(greedy({1}, 200));
  ASSERT_TRUE(completion) << completion.error().message;
  EXPECT_EQ(completion->tokens, tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    double sum = 0;
    for (size_t v = 0; v < 512; ++v) sum += std::exp(double{logits[i * 512 + v]});
    ASSERT_NEAR(completion->logprobs[i], logits[i * 512 + tokens[i]] - std::log(sum), 1e-4);
  }
}

TEST_F(EngineTest, a_request_gives_the_same_bits_alone_and_among_others) {
  for (const auto& [scheme, activations] :
       std::vector<std::pair<const char*, Activations>>{{"none", Activations::kFp32},
                                                        {"int8_per_channel", Activations::kFp32},
                                                        {"int8_per_channel", Activations::kInt8PerToken},
                                                        {"int4_per_group", Activations::kFp32},
                                                        {"int4_per_group", Activations::kInt8PerToken},
                                                        {"fp8_per_block", Activations::kFp32}}) {
    const auto model = load("stories260k-bf16", scheme);
    EngineOptions options;
    options.max_sequences = 3;
    options.max_batch_tokens = 8;
    options.activations = activations;
    const auto together = engine_of(*model, options)->generate(mixed_requests());
    ASSERT_TRUE(together) << together.error().message;
    const auto alone = engine_of(*model, {.activations = activations});
    const auto requests = mixed_requests();
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto completion = alone->generate(requests[i]);
      ASSERT_TRUE(completion) << completion.error().message;
      EXPECT_EQ(completion->tokens, (*together)[i].tokens) << scheme << ", request " << i;
      EXPECT_EQ(completion->logprobs, (*together)[i].logprobs) << scheme << ", request " << i;
      EXPECT_EQ(completion->top_logprobs, (*together)[i].top_logprobs) << scheme << ", request " << i;
    }
  }
}

// Of this process, the one that asks among them.
int64_t threads_alive() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

TEST_F(EngineTest, an_engine_has_threads_of_its_own_and_a_reload_beside_it_starts_none) {
  const auto model = load("stories260k-bf16", "int8_per_channel");
  const int64_t without = threads_alive();  // with those that load and quantize
  const auto engine = engine_of(*model, {.threads = 3});
  EXPECT_EQ(threads_alive(), without + 2);  // the caller of `step` is the third
  ASSERT_TRUE(engine->generate(greedy({1}, 4)));
  ASSERT_TRUE(reload_from(*model, "stories260k-bf16"));
  EXPECT_EQ(threads_alive(), without + 2);
}

TEST_F(EngineTest, int8_activations_change_logits_by_little) {
  const std::vector<int32_t> tokens = {1, 403, 407, 261, 378, 31, 270, 418};
  for (const char* scheme : {"int8_per_channel", "int4_per_group"}) {
    const auto model = load("stories260k-bf16", scheme);
    const auto exact = all_logits(*engine_of(*model), tokens);
    const auto integer = all_logits(*engine_of(*model, {.activations = Activations::kInt8PerToken}), tokens);
    ASSERT_EQ(integer.size(), exact.size());
    double difference = 0, magnitude = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      difference += std::pow(integer[i] - exact[i], 2);
      magnitude += std::pow(exact[i], 2);
    }
    EXPECT_GT(difference, 0);
    EXPECT_LT(std::sqrt(difference / magnitude), 0.05) << scheme;
  }
}

TEST_F(EngineTest, int8_activations_are_refused_where_no_weight_takes_them) {
  for (const char* scheme : {"none", "int4_per_group@torchao-tinygemm", "fp8_per_channel"}) {
    const auto model = load("stories260k-bf16", scheme);
    const auto refused = Engine::create(*model, {.activations = Activations::kInt8PerToken});
    ASSERT_FALSE(refused) << scheme;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("activations: int8_per_token"));
  }
}

TEST_F(EngineTest, top_logprobs_hold_the_greedy_token_first_and_sum_below_one) {
  const auto model = load("stories260k", "none");
  Request request = greedy({1, 403, 407}, 20);
  request.sampling.logprobs = 5;
  const auto completion = engine_of(*model)->generate(std::move(request));
  ASSERT_TRUE(completion);
  ASSERT_EQ(completion->top_logprobs.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    const std::vector<TokenLogprob>& top = completion->top_logprobs[i];
    ASSERT_EQ(top.size(), 5u);
    EXPECT_EQ(top[0], (TokenLogprob{completion->tokens[i], completion->logprobs[i]}));
    double sum = 0;
    for (const TokenLogprob& entry : top) sum += std::exp(double{entry.logprob});
    EXPECT_LT(sum, 1.0001);
  }
}

TEST_F(EngineTest, a_stop_token_ends_the_output_and_is_its_last_token) {
  const auto model = load("stories260k", "none");
  const auto engine = engine_of(*model);
  const auto whole = engine->generate(greedy({1}, 30));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->finish_reason, FinishReason::kLength);
  Request request = greedy({1}, 30);
  request.sampling.stop_token_ids = {whole->tokens[4]};
  const auto stopped = engine->generate(std::move(request));
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped->tokens, std::vector<int32_t>(whole->tokens.begin(), whole->tokens.begin() + 5));
}

TEST_F(EngineTest, an_eos_token_ends_the_output_unless_it_is_ignored) {
  const auto model = load("stories260k", "none");
  const auto engine = engine_of(*model);
  const auto run = [&](uint64_t seed, bool ignore_eos) {
    Request request = greedy({1}, 40);
    request.sampling.temperature = 50;  // nearly uniform over 512 tokens, of which one is eos
    request.sampling.seed = seed;
    request.sampling.ignore_eos = ignore_eos;
    return engine->generate(std::move(request)).value();
  };
  const auto has_eos = [](const Completion& completion) {
    return std::find(completion.tokens.begin(), completion.tokens.end(), 2) != completion.tokens.end();
  };
  uint64_t seed = 1;
  while (seed < 500 && !has_eos(run(seed, true))) ++seed;
  EXPECT_EQ(run(seed, true).tokens.size(), 40u);
  EXPECT_EQ(run(seed, false).finish_reason, FinishReason::kStop);
  EXPECT_EQ(run(seed, false).tokens.back(), 2);
}

TEST_F(EngineTest, what_a_request_asks_too_much_is_named) {
  const auto model = load("stories260k", "none");
  EngineOptions options;
  options.max_tokens = 20;
  const auto engine = engine_of(*model, options);
  EXPECT_EQ(refusal(*engine, greedy({1, 2, 3}, 17)), "");
  EXPECT_THAT(refusal(*engine, greedy({1, 2, 3}, 18)), AllOf(HasSubstr("20"), HasSubstr("18")));
  EXPECT_THAT(refusal(*engine, greedy({1}, INT64_MAX)), HasSubstr("prompt"));
  EXPECT_THAT(refusal(*engine, greedy(std::vector<int32_t>(21, 1), 1)), HasSubstr("21"));
  EXPECT_THAT(refusal(*engine, greedy({}, 1)), HasSubstr("prompt"));
  EXPECT_THAT(refusal(*engine, greedy({1, 512}, 1)), AllOf(HasSubstr("511"), HasSubstr("512")));
  EXPECT_THAT(refusal(*engine, greedy({-1}, 1)), HasSubstr("-1"));
  EXPECT_THAT(refusal(*engine, greedy({1}, 0)), HasSubstr("max_new_tokens"));
}

TEST_F(EngineTest, options_that_make_no_sense_are_named) {
  const auto model = load("stories260k", "none");
  const auto message = [&](const EngineOptions& options) {
    const auto engine = Engine::create(*model, options);
    return engine ? std::string() : engine.error().message;
  };
  EXPECT_THAT(message({.max_sequences = 0}), HasSubstr("max_sequences"));
  EXPECT_THAT(message({.max_tokens = 513}),
              AllOf(HasSubstr("max_tokens"), HasSubstr("512"), HasSubstr("513")));
  EXPECT_THAT(message({.max_batch_tokens = 0}), HasSubstr("max_batch_tokens"));
  EXPECT_THAT(message({.threads = -1}), HasSubstr("threads"));
  EXPECT_THAT(message({.capture = Capture::kSlotAddresses}), HasSubstr("flip"));
}

TEST_F(EngineTest, a_cancelled_request_ends_and_its_place_is_free) {
  const auto model = load("stories260k", "none");
  EngineOptions options;
  options.max_sequences = 1;
  const auto engine = engine_of(*model, options);
  std::vector<Completion> finished;
  RequestCallbacks callbacks;
  callbacks.on_finish = [&](const Completion& completion) { finished.push_back(completion); };
  const uint64_t first = engine->submit(greedy({1}, 100), callbacks).value();
  const uint64_t second = engine->submit(greedy({1}, 3), callbacks).value();
  EXPECT_EQ(engine->waiting(), 2);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->step().value());
  EXPECT_EQ(engine->running(), 1);
  EXPECT_TRUE(engine->cancel(first));
  EXPECT_FALSE(engine->cancel(first));
  ASSERT_TRUE(engine->run_until_idle());
  ASSERT_EQ(finished.size(), 2u);
  EXPECT_EQ(finished[0].finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(finished[0].tokens.size(), 5u);
  EXPECT_EQ(finished[1].id, second);
  EXPECT_EQ(finished[1].tokens.size(), 3u);
  EXPECT_FALSE(engine->cancel(second));
  EXPECT_FALSE(engine->cancel(12345));
  EXPECT_FALSE(engine->step().value());
  EXPECT_FALSE(engine->wait_for_work(std::chrono::milliseconds(1)));
}

TEST_F(EngineTest, every_token_is_told_when_it_is_made) {
  const auto model = load("stories260k", "none");
  const auto engine = engine_of(*model);
  std::vector<int32_t> told;
  Completion finished;
  RequestCallbacks callbacks;
  callbacks.on_token = [&](uint64_t, const GeneratedToken& token) {
    EXPECT_EQ(token.version_number, 1u);
    told.push_back(token.token);
  };
  callbacks.on_finish = [&](const Completion& completion) { finished = completion; };
  ASSERT_TRUE(engine->submit(greedy({1}, 6), callbacks));
  ASSERT_TRUE(engine->step().value());
  EXPECT_EQ(told.size(), 1u);
  ASSERT_TRUE(engine->run_until_idle());
  EXPECT_EQ(told, finished.tokens);
  EXPECT_EQ(told.size(), 6u);
}

TEST_F(EngineTest, scoring_beside_running_requests_disturbs_neither) {
  const auto model = load("stories260k", "none");
  EngineOptions options;
  options.max_sequences = 2;
  const auto engine = engine_of(*model, options);
  const std::vector<int32_t> text = {1, 403, 407, 261, 378, 432, 383};
  const auto logits = all_logits(*engine, text);
  const auto alone = engine->generate(greedy({1}, 12)).value();
  Completion finished;
  RequestCallbacks callbacks;
  callbacks.on_finish = [&](const Completion& completion) { finished = completion; };
  ASSERT_TRUE(engine->submit(greedy({1}, 12), callbacks));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine->step().value());
  EXPECT_EQ(all_logits(*engine, text), logits);
  ASSERT_TRUE(engine->run_until_idle());
  EXPECT_EQ(finished.tokens, alone.tokens);
  EXPECT_EQ(finished.logprobs, alone.logprobs);
}

}  // namespace
}  // namespace liveweight
