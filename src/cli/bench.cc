#include <fmt/format.h>

#include <filesystem>

#include "bench/delta_bench.h"
#include "bench/plan_bench.h"
#include "bench/reload_bench.h"
#include "bench/synthetic.h"
#include "cli/bench_decode.h"
#include "cli/bench_soak.h"
#include "cli/command.h"
#include "cli/progress.h"

namespace liveweight::cli {
namespace {

struct BenchCommand {
  std::string what;
  std::string directory;
  std::vector<std::string> schemes = {"none",           "int8_per_channel", "int4_per_group",
                                      "fp8_per_tensor", "fp8_per_channel",  "fp8_per_block"};
  std::string mode = "flip";
  int rounds = 9;
};

// The directory given, or a synthetic one made at the first call and kept for the next.
Result<std::filesystem::path> reload_directory(const BenchCommand& command) {
  if (!command.directory.empty()) return std::filesystem::path(command.directory);
  const auto made = std::filesystem::temp_directory_path() / "liveweight-bench-1.1b";
  if (!std::filesystem::exists(made / "config.json")) {
    LW_TRY(bench::write_synthetic_llama(made, {}, 1));
  }
  return made;
}

Json to_json(const bench::ReloadFigures& f) {
  return {{"scheme", f.scheme},
          {"mode", to_string(f.mode)},
          {"source_bytes", f.source_bytes},
          {"live_bytes", f.live_bytes},
          {"reload_seconds", f.reload_seconds},
          {"floor_seconds", f.floor_seconds},
          {"share_of_floor", f.share},
          {"source_gb_per_s", static_cast<double>(f.source_bytes) / f.reload_seconds / 1e9},
          {"extra_peak_bytes", f.extra_peak_bytes},
          {"anonymous_growth_bytes", f.anonymous_growth_bytes}};
}

Result<Outcome> bench_reload(const BenchCommand& command) {
  LW_ASSIGN(const CommitMode mode, parse_commit_mode(command.mode));
  LW_ASSIGN(const std::filesystem::path directory, reload_directory(command));
  Progress progress("bench reload", static_cast<int64_t>(command.schemes.size()));
  Outcome out;
  Json results = Json::array();
  out.text = fmt::format("{:<34} {:>9} {:>9} {:>9} {:>9}\n", "scheme", "reload", "floor", "share", "source");
  for (const std::string& scheme : command.schemes) {
    LW_ASSIGN(const auto f, bench::measure_reload(directory, scheme, mode, command.rounds));
    out.text += fmt::format("{:<34} {:>6.1f} ms {:>6.1f} ms {:>9.2f} {:>4.1f} GB/s\n", scheme,
                            f.reload_seconds * 1e3, f.floor_seconds * 1e3, f.share,
                            static_cast<double>(f.source_bytes) / f.reload_seconds / 1e9);
    results.push_back(to_json(f));
    progress.update(static_cast<int64_t>(results.size()));
  }
  out.json = {{"directory", directory.string()}, {"rounds", command.rounds}, {"reload", std::move(results)}};
  return out;
}

// About a hundred thousand checkpoint tensors: the size of today's largest mixtures of experts.
Result<Outcome> bench_plan(const BenchCommand& command) {
  constexpr int64_t kLayers = 92, kExperts = 360;
  Outcome out;
  Json results = Json::array();
  for (const std::string& scheme : command.schemes) {
    LW_ASSIGN(const auto f, bench::measure_plan(kLayers, kExperts, scheme, command.rounds));
    out.text += fmt::format("{:<34} {} tensors: {:.1f} ms\n", scheme, f.tensors, f.seconds * 1e3);
    results.push_back(
        {{"scheme", scheme}, {"tensors", f.tensors}, {"parameters", f.parameters}, {"seconds", f.seconds}});
  }
  out.json = {{"rounds", command.rounds}, {"plan", std::move(results)}};
  return out;
}

Result<Outcome> bench_delta(const BenchCommand& command) {
  const std::vector<double> shares = {1e-5, 1e-4, 1e-3, 1e-2};
  LW_ASSIGN(const std::filesystem::path directory, reload_directory(command));
  Progress progress("bench delta", static_cast<int64_t>(command.schemes.size()));
  Outcome out;
  Json results = Json::array();
  out.text = fmt::format("{:<24} {:>8} {:>10} {:>11} {:>11} {:>8} {:>8} {:>11}\n", "scheme", "share",
                         "elements", "update", "floor", "ratio", "whole", "behind");
  int64_t done = 0;
  for (const std::string& scheme : command.schemes) {
    LW_ASSIGN(const auto all, bench::measure_deltas(directory, scheme, shares, command.rounds));
    for (const bench::DeltaFigures& f : all) {
      out.text += fmt::format("{:<24} {:>7.3f}% {:>10} {:>8.2f} ms {:>8.2f} ms {:>8.2f} {:>8} {:>8.2f} ms\n",
                              scheme, f.share * 100, f.changed, f.update_seconds * 1e3, f.floor_seconds * 1e3,
                              f.times_floor, f.whole_units, f.behind_seconds * 1e3);
      results.push_back({{"scheme", scheme},
                         {"share", f.share},
                         {"changed", f.changed},
                         {"whole_units", f.whole_units},
                         {"update_seconds", f.update_seconds},
                         {"floor_seconds", f.floor_seconds},
                         {"times_floor", f.times_floor},
                         {"behind_seconds", f.behind_seconds}});
    }
    progress.update(++done);
  }
  out.json = {{"directory", directory.string()}, {"rounds", command.rounds}, {"delta", std::move(results)}};
  return out;
}

}  // namespace

Run add_bench(CLI::App& app) {
  auto command = std::make_shared<BenchCommand>();
  app.add_option("WHAT", command->what, "reload, plan, decode, delta or soak")
      ->required()
      ->check(CLI::IsMember({"reload", "plan", "decode", "delta", "soak"}));
  app.add_option(
      "--directory", command->directory,
      "checkpoint to reload (default: random weights of a 1.1B Llama, made once; soak: the sample in "
      "samples/addition)");
  const auto* schemes =
      app.add_option("--quant", command->schemes, "schemes (default: all; soak: int8_per_channel, and one)");
  app.add_option("--mode", command->mode, "flip, copy or in_place");
  app.add_option("--rounds", command->rounds, "interleaved rounds")->check(CLI::Range(1, 1000));
  auto soak = std::make_shared<SoakCommand>();
  soak->add_to(app);
  return [command, soak, schemes]() -> Result<Outcome> {
    if (command->what == "soak") {
      LW_ASSIGN(soak->options.mode, parse_commit_mode(command->mode));
      if (!command->directory.empty()) soak->options.directory = command->directory;
      if (schemes->count() > 0) soak->schemes = command->schemes;
      return bench_soak(*soak);
    }
    if (command->what == "decode") {
      LW_ASSIGN(const std::filesystem::path directory, reload_directory(*command));
      return bench_decode(directory, command->schemes, command->rounds);
    }
    if (command->what == "delta") return bench_delta(*command);
    return command->what == "plan" ? bench_plan(*command) : bench_reload(*command);
  };
}

}  // namespace liveweight::cli
