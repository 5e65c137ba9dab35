// A model loaded for running: its weights, its tokenizer where it has one, and how long that took; and what
// its activations are.
#pragma once

#include "cli/command.h"
#include "liveweight/engine.h"
#include "liveweight/tokenizer.h"

namespace liveweight::cli {

// --activations
struct ActivationsOption {
  std::string name = "fp32";

  void add_to(CLI::App& app);
  Result<Activations> parse() const { return parse_activations(name); }
};

struct Session {
  std::unique_ptr<LiveModel> model;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where the directory has none
  double load_seconds = 0;

  static Result<Session> open(const ModelOptions& options);
};

}  // namespace liveweight::cli
