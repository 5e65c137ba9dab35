#include <fmt/format.h>

#include <charconv>
#include <chrono>

#include "cli/command.h"
#include "cli/session.h"

namespace liveweight::cli {
namespace {

struct GenerateCommand {
  ModelOptions model;
  ActivationsOption activations;
  std::optional<std::string> prompt;
  std::optional<std::string> tokens;
  SamplingParameters sampling;
};

// "1,2,3"
Result<std::vector<int32_t>> parse_tokens(const std::string& text) {
  std::vector<int32_t> ids;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    int32_t id = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + comma, id);
    if (error != std::errc() || end != text.data() + comma) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("--tokens: expected ids like 1,2,3, got {}", text.substr(at, comma - at)));
    }
    ids.push_back(id);
    at = comma + 1;
  }
  return ids;
}

Result<std::vector<int32_t>> prompt_ids(const GenerateCommand& command, const Session& session) {
  if (command.tokens) return parse_tokens(*command.tokens);
  if (!session.tokenizer) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: it has no tokenizer: give --tokens instead of --prompt", command.model.directory));
  }
  return session.tokenizer->encode(*command.prompt);
}

Json top_logprobs_json(const Completion& completion) {
  Json positions = Json::array();
  for (const auto& position : completion.top_logprobs) {
    Json pairs = Json::array();
    for (const TokenLogprob& entry : position) pairs.push_back({entry.token, entry.logprob});
    positions.push_back(std::move(pairs));
  }
  return positions;
}

Result<Outcome> run(const GenerateCommand& command) {
  LW_ASSIGN(const Session session, Session::open(command.model));
  LW_ASSIGN(std::vector<int32_t> prompt, prompt_ids(command, session));
  const Json prompt_tokens = prompt;
  EngineOptions options;
  LW_ASSIGN(options.activations, command.activations.parse());
  options.max_sequences = 1;
  options.max_tokens = static_cast<int64_t>(prompt.size()) + command.sampling.max_new_tokens;
  LW_ASSIGN(const auto engine, Engine::create(*session.model, options));
  LW_ASSIGN(const Completion completion, engine->generate(Request{std::move(prompt), command.sampling}));
  Outcome out;
  const std::string text = session.tokenizer ? session.tokenizer->decode(completion.tokens) : "";
  out.json = {{"prompt_tokens", prompt_tokens},
              {"tokens", completion.tokens},
              {"text", session.tokenizer ? Json(text) : Json()},
              {"logprobs", completion.logprobs},
              {"top_logprobs", top_logprobs_json(completion)},
              {"finish_reason", to_string(completion.finish_reason)},
              {"version", session.model->version().number},
              {"seconds",
               {{"load", session.load_seconds},
                {"prefill", completion.prefill_seconds},
                {"decode", completion.decode_seconds}}}};
  out.text = session.tokenizer ? text + "\n" : fmt::format("{}\n", Json(completion.tokens).dump());
  return out;
}

}  // namespace

Run add_generate(CLI::App& app) {
  auto command = std::make_shared<GenerateCommand>();
  command->model.add_to(app);
  command->activations.add_to(app);
  auto* input = app.add_option_group("input", "exactly one of these");
  input->add_option("--prompt", command->prompt, "text to continue");
  input->add_option("--tokens", command->tokens, "ids to continue: 1,2,3");
  input->require_option(1);
  SamplingParameters& sampling = command->sampling;
  app.add_option("-n,--max-new-tokens", sampling.max_new_tokens, "tokens to generate, at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--temperature", sampling.temperature, "0 is greedy");
  app.add_option("--top-p", sampling.top_p, "share of probability to sample from");
  app.add_option("--top-k", sampling.top_k, "tokens to sample from; 0: all");
  app.add_option("--seed", sampling.seed, "of the sampling");
  app.add_option("--logprobs", sampling.logprobs, "report the K likeliest tokens at each position");
  app.add_flag("--ignore-eos", sampling.ignore_eos, "go on after an end-of-sequence token");
  return [command] { return run(*command); };
}

}  // namespace liveweight::cli
