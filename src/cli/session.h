// A model loaded for running: its weights, its tokenizer where it has one, and how long that took.
#pragma once

#include "cli/command.h"
#include "liveweight/engine.h"
#include "liveweight/tokenizer.h"

namespace liveweight::cli {

struct Session {
  std::unique_ptr<LiveModel> model;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where the directory has none
  double load_seconds = 0;

  static Result<Session> open(const ModelOptions& options);
};

}  // namespace liveweight::cli
