// liveweight: one binary, one subcommand a file. Results go to standard output, everything else to standard
// error.
#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <optional>

#include "base/threads.h"
#include "cli/command.h"
#include "cli/log.h"
#include "liveweight/engine.h"

namespace liveweight::cli {
namespace {

constexpr int kDone = 0, kInternalFault = 1, kRefused = 2, kUsage = 64;

struct Subcommand {
  const char* name;
  const char* help;
  const char* example;
  Run (*add)(CLI::App&);
};

constexpr Subcommand kSubcommands[] = {
    {"inspect", "what a checkpoint holds", "liveweight inspect DIR --json", add_inspect},
    {"plan", "where every byte of a checkpoint goes", "liveweight plan DIR --quant fp8_per_block", add_plan},
    {"generate", "continue a prompt",
     "liveweight generate DIR --quant int8_per_channel --prompt 'Once upon a time' -n 64", add_generate},
    {"eval", "the loss on a text", "liveweight eval DIR --quant fp8_per_block --text FILE --context 512",
     add_eval},
    {"tokenize", "JSON strings on standard input to token ids", "echo '\"Hello\"' | liveweight tokenize DIR",
     add_tokenize},
    {"digest", "hashes of the quantized model", "liveweight digest DIR --quant int8_per_channel --tp-size 2",
     add_digest},
    {"reload", "load a model, then new weights into it, one directory after another",
     "liveweight reload DIR STEP_1 STEP_2 --quant fp8_per_channel", add_reload},
    {"diff", "what changed between two checkpoints, as a delta",
     "liveweight diff OLD_DIR NEW_DIR OUT_DIR --encoding indices", add_diff},
    {"apply", "a plain checkpoint with deltas put into it",
     "liveweight apply DIR DELTA_1 DELTA_2 --out OUT_DIR", add_apply},
    {"follow", "keep a live model on a directory of versions, full checkpoints and deltas",
     "liveweight follow VERSIONS_DIR --quant fp8_per_channel --mirror MIRROR_DIR", add_follow},
    {"quantize", "write a quantized checkpoint that other engines load too",
     "liveweight quantize DIR OUT_DIR --quant fp8_per_block", add_quantize},
    {"bench", "our speed against the machine's limits, measured in one run", "liveweight bench reload --json",
     add_bench},
};

int report(const Error& error) {
  std::string line = error.message;
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  fmt::print(stderr, "liveweight: error: {}\n", line);
  return error.code == ErrorCode::kInternal ? kInternalFault : kRefused;
}

int finish(const Result<Outcome>& outcome, bool json) {
  if (!outcome) return report(outcome.error());
  const std::string text =
      json ? outcome->json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n" : outcome->text;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return report({ErrorCode::kIo, "cannot write to standard output", {}});
  }
  return outcome->refused ? report(*outcome->refused) : kDone;
}

// Flags win over the environment.
Status set_threads(int flag) {
  if (flag > 0) {
    set_default_threads(flag);
    return {};
  }
  const char* text = std::getenv("LIVEWEIGHT_THREADS");
  if (!text || !*text) return {};
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  constexpr int kMost = 4096;
  if (error == std::errc() && end == view.data() + view.size() && value >= 1 && value <= kMost) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("LIVEWEIGHT_THREADS: expected an integer from 1 to {}, got {}", kMost, view));
}

Status set_pinning(std::optional<bool> flag) {
  set_pin_threads(flag);
  const char* text = std::getenv("LIVEWEIGHT_PIN_THREADS");
  if (flag || !text || !*text) return {};
  const std::string_view view(text);
  if (view == "0" || view == "1") return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("LIVEWEIGHT_PIN_THREADS: expected 0 or 1, got {}", view));
}

Status set_log(const std::string& flag) {
  const char* text = std::getenv("LIVEWEIGHT_LOG");
  if (flag.empty() && (!text || !*text)) return {};
  LW_ASSIGN(const LogLevel level,
            flag.empty() ? parse_log_level("LIVEWEIGHT_LOG", text) : parse_log_level("--log", flag));
  set_log_level(level);
  return {};
}

int usage_error(const CLI::ParseError& error, const CLI::App& app) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
  fmt::print(stderr, "liveweight: error: {} (see --help)\n", error.what());
  return kUsage;
}

int run(int argc, char** argv) {
  CLI::App app("Keeps a quantized model live: loads, quantizes, runs, and takes new weights in place.",
               "liveweight");
  app.set_version_flag("--version", std::string("liveweight ") + LIVEWEIGHT_VERSION);
  app.require_subcommand(1);
  bool json = false;
  int threads = 0;
  std::optional<bool> pin;
  std::string log;
  std::vector<std::pair<CLI::App*, Run>> commands;
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* sub = app.add_subcommand(subcommand.name, subcommand.help);
    sub->footer(fmt::format("Example: {}", subcommand.example));
    sub->add_flag("--json", json, "print one JSON object");
    sub->add_option("--threads", threads,
                    "threads for all compute (default: LIVEWEIGHT_THREADS, else all processors)")
        ->check(CLI::Range(1, 4096));
    sub->add_flag_function(
        "--pin-threads,!--no-pin-threads", [&pin](int64_t times) { pin = times > 0; },
        "bind each thread to a processor (default: LIVEWEIGHT_PIN_THREADS, else no)");
    sub->add_option(
        "--log", log,
        "messages on standard error: error, warn, info or debug (default: LIVEWEIGHT_LOG, else error)");
    commands.emplace_back(sub, subcommand.add(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(error, app);
  }
  if (const Status status = set_log(log); !status) return report(status.error());
  if (const Status status = set_threads(threads); !status) return report(status.error());
  if (const Status status = set_pinning(pin); !status) return report(status.error());
  log_line(LogLevel::kDebug, fmt::format("{}{} threads, kernels for {}", default_threads(),
                                         pin_threads() ? " pinned" : "", Engine::target()));
  for (const auto& [sub, command] : commands) {
    if (sub->parsed()) return finish(command(), json);
  }
  return kUsage;
}

}  // namespace
}  // namespace liveweight::cli

int main(int argc, char** argv) {
  // A file over the limit of sizes is an error of its write, and not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return liveweight::cli::run(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "liveweight: error: out of memory\n");
    return liveweight::cli::kRefused;
  } catch (const std::exception& error) {
    fmt::print(stderr, "liveweight: error: internal fault: {}\n", error.what());
    return 1;
  }
}
