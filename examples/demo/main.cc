// liveweight-demo: the sample served under a stream of requests while its checkpoints are taken one by one.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>

#include "base/interrupt.h"
#include "demo/picture.h"
#include "demo/show.h"
#include "plot/chart.h"

namespace liveweight::demo {
namespace {

constexpr int kDone = 0, kPromiseBroken = 1, kBadInput = 2, kUsage = 64, kInterrupted = 130;
constexpr double kLongestShow = 110;
constexpr int kMostClients = 256;

struct Options {
  ShowOptions show;
  std::string picture;
  bool json = false;
};

// Unlike CLI::Range this refuses what is not a number.
std::string seconds_fault(const std::string& text) {
  double seconds = 0;
  const bool fine = CLI::detail::lexical_cast(text, seconds) && seconds >= 0 && seconds <= kLongestShow;
  return fine ? "" : fmt::format("expected 0 to {} seconds, got {}", kLongestShow, text);
}

void declare(CLI::App& app, Options& options) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--quant", options.show.scheme,
                 "scheme: none, int8_per_channel, int4_per_group[:G], fp8_per_tensor, fp8_per_channel or "
                 "fp8_per_block, each with an optional @profile")
      ->capture_default_str();
  app.add_option("--seconds", options.show.seconds, "how long to serve, for all versions together, at least")
      ->check(CLI::Validator(seconds_fault, "0 to 110"))
      ->capture_default_str();
  app.add_option("--clients", options.show.clients, "threads that ask")
      ->check(CLI::Range(1, kMostClients))
      ->capture_default_str();
  app.add_option("--picture", options.picture,
                 "file (.svg or .png) for a chart of accuracy and reload time by version");
  app.add_option("--sample", options.show.sample, "directory of the sample")->capture_default_str();
  app.add_flag("--json", options.json, "print one JSON object; the table goes to standard error");
}

int report(int code, const std::string& message) {
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "liveweight-demo: error: {}\n", line);
  return code;
}

int verdict(const Record& record) {
  if (record.interrupted) return kInterrupted;
  for (const auto& [name, kept] : promises(record)) {
    if (!kept) return report(kPromiseBroken, fmt::format("a promise was broken: {}", name));
  }
  return kDone;
}

Status draw(const Record& record, const std::string& picture) {
  if (picture.empty()) return {};
  LW_TRY(plot::write_chart(picture_of(record), picture));
  fmt::print(stderr, "Picture: {}\n", picture);
  return {};
}

int run(const Options& options) {
  if (!options.picture.empty()) {
    if (const Status status = plot::check_chart_file(options.picture); !status) {
      return report(kBadInput, "--picture: " + status.error().message);
    }
  }
  Table table(options.json ? stderr : stdout);
  const Result<Record> record = run_show(options.show, table);
  if (!record) return report(kBadInput, record.error().message);
  const std::string text = options.json ? to_json(*record) : summary_text(*record);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return report(kBadInput, "cannot write to standard output");
  }
  if (const Status status = draw(*record, options.picture); !status) {
    return report(kBadInput, status.error().message);
  }
  return verdict(*record);
}

}  // namespace
}  // namespace liveweight::demo

int main(int argc, char** argv) {
  using namespace liveweight::demo;
  try {
    Options options;
    CLI::App app("Serves the sample under a stream of requests while its checkpoints are taken one by one.",
                 "liveweight-demo");
    declare(app, options);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
      return report(kUsage, fmt::format("{} (see --help)", error.what()));
    }
    liveweight::watch_for_interrupts();
    return run(options);
  } catch (const std::exception& error) {
    return report(kPromiseBroken, fmt::format("internal fault: {}", error.what()));
  }
}
