#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/session.h"

namespace liveweight::cli {
namespace {

struct EvalCommand {
  ModelOptions model;
  ActivationsOption activations;
  std::string text_file;
  std::string tokens_file;
  std::optional<int64_t> context;
};

struct Input {
  std::vector<int32_t> ids;  // without BOS
  uint64_t bytes = 0;        // of the text; 0 where only ids were given
};

// A JSON list of ids, or ids apart by white space.
Result<Input> read_tokens(const std::string& file) {
  LW_ASSIGN(const std::string text, read_text_file(file));
  Input input;
  const char* at = text.data();
  const char* end = at + text.size();
  const auto is_separator = [](char c) {
    return std::string_view(" \t\r\n,[]").find(c) != std::string_view::npos;
  };
  while (at < end) {
    if (is_separator(*at)) {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next < end && !is_separator(*next))) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: expected token ids, got something else at byte {}", file, at - text.data()));
    }
    input.ids.push_back(id);
    at = next;
  }
  return input;
}

Result<Input> read_input(const EvalCommand& command, const Session& session) {
  if (!command.tokens_file.empty()) return read_tokens(command.tokens_file);
  if (!session.tokenizer) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: it has no tokenizer: give --tokens-file instead of --text",
                            command.model.directory));
  }
  LW_ASSIGN(const std::string text, read_text_file(command.text_file));
  LW_ASSIGN(std::vector<int32_t> ids, session.tokenizer->encode(text, false));
  return Input{std::move(ids), text.size()};
}

// The negative logarithm of the probability of `target`, in double.
double nats(std::span<const float> logits, int32_t target) {
  double largest = -INFINITY, sum = 0;
  for (const float logit : logits) largest = std::max(largest, static_cast<double>(logit));
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum) - static_cast<double>(logits[target]);
}

// Windows of `context` tokens, each begun with BOS, which is not predicted; without overlap.
Result<double> total_nats(Engine& engine, int32_t bos, const std::vector<int32_t>& ids, int64_t context) {
  Progress progress("eval", static_cast<int64_t>(ids.size()));
  double total = 0;
  const auto size = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < size; begin += context - 1) {
    const int64_t count = std::min(context - 1, size - begin);
    std::vector<int32_t> window = {bos};
    window.insert(window.end(), ids.begin() + begin, ids.begin() + begin + count);
    LW_TRY(engine.forward_all(window, [&](int64_t position, std::span<const float> logits) {
      if (position < count) total += nats(logits, window[position + 1]);
    }));
    progress.update(begin + count);
  }
  return total;
}

Result<Outcome> run(const EvalCommand& command) {
  LW_ASSIGN(const Session session, Session::open(command.model));
  LW_ASSIGN(const Input input, read_input(command, session));
  const ModelConfig& config = session.model->plan().config();
  if (input.ids.empty()) return fail(ErrorCode::kInvalidArgument, "eval: the input has no token");
  if (!config.bos_token_id)
    return fail(ErrorCode::kBadCheckpoint, "config.json: bos_token_id: expected an id, got nothing");
  const int64_t context = command.context.value_or(std::min<int64_t>(config.max_position, 2048));
  EngineOptions options;
  LW_ASSIGN(options.activations, command.activations.parse());
  options.max_sequences = 1;
  options.max_tokens = context;
  LW_ASSIGN(const auto engine, Engine::create(*session.model, options));
  LW_ASSIGN(const double total, total_nats(*engine, *config.bos_token_id, input.ids, context));
  const double per_token = total / static_cast<double>(input.ids.size());
  Outcome out;
  out.json = {{"tokens", input.ids.size()},
              {"bytes", input.bytes},
              {"nats_per_token", per_token},
              {"perplexity", std::exp(per_token)},
              {"nats_per_byte", input.bytes ? Json(total / static_cast<double>(input.bytes)) : Json()}};
  out.text = fmt::format("{} tokens: {:.5f} nats a token, perplexity {:.4f}\n", input.ids.size(), per_token,
                         std::exp(per_token));
  return out;
}

}  // namespace

Run add_eval(CLI::App& app) {
  auto command = std::make_shared<EvalCommand>();
  command->model.add_to(app);
  command->activations.add_to(app);
  auto* input = app.add_option_group("input", "exactly one of these");
  add_path(*input, "--text", command->text_file, "file of text");
  add_path(*input, "--tokens-file", command->tokens_file, "file of token ids, without BOS");
  input->require_option(1);
  app.add_option("--context", command->context, "tokens of a window (default: the model's, at most 2048)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  return [command] { return run(*command); };
}

}  // namespace liveweight::cli
