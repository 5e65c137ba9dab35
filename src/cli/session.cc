#include "cli/session.h"
#include "base/clock.h"

#include <chrono>

namespace liveweight::cli {

void ActivationsOption::add_to(CLI::App& app) {
  app.add_option(
      "--activations", name,
      "fp32 (default, exact) or int8_per_token: of linear layers with int8 or int4 weights, quantized while "
      "they run");
}

Result<Session> Session::open(const ModelOptions& options) {
  Session session;
  const auto begin = Clock::now();
  LoadOptions load;
  LW_ASSIGN(load.names, options.names());
  LW_ASSIGN(const ModelDirectory directory, options.open());
  LW_ASSIGN(load.quantization, options.quantization(directory));
  load.label = options.directory;
  load.mode = CommitMode::kInPlace;  // loaded once, so one slot is enough
  LW_ASSIGN(session.model, load_logged(directory, load));
  if (Tokenizer::present(options.directory)) {
    LW_ASSIGN(session.tokenizer, Tokenizer::load(options.directory));
  }
  session.load_seconds = seconds_since(begin);
  return session;
}

}  // namespace liveweight::cli
