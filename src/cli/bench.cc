#include <functional>
#include <map>

#include "bench/synthetic.h"
#include "cli/bench_command.h"
#include "cli/bench_soak.h"

namespace liveweight::cli {
namespace {

using Measurement = std::function<Result<Measured>(const BenchOptions&)>;

const std::map<std::string, Measurement>& measurements() {
  static const std::map<std::string, Measurement> all = {
      {"limits", bench_limits}, {"quantize", bench_quantize}, {"reload", bench_reload},
      {"delta", bench_delta},   {"diff", bench_diff},         {"decode", bench_decode},
      {"plan", bench_plan},
  };
  return all;
}

Result<Measured> measure(const std::string& what, const BenchOptions& options, SoakCommand& soak,
                         bool schemes_given) {
  if (what == "quantize" && !schemes_given) {
    BenchOptions all = options;
    all.schemes.push_back("int4_per_group@torchao");  // the scheme whose codes are not symmetric
    return bench_quantize(all);
  }
  if (what != "soak") return measurements().at(what)(options);
  LW_ASSIGN(soak.options.mode, parse_commit_mode(options.mode));
  if (!options.directory.empty()) soak.options.directory = options.directory;
  if (schemes_given) soak.schemes = options.schemes;
  return bench_soak(soak);
}

}  // namespace

Result<std::filesystem::path> BenchOptions::checkpoint() const {
  if (!directory.empty()) return std::filesystem::path(directory);
  const auto made = std::filesystem::temp_directory_path() / "liveweight-bench-1.1b";
  if (!std::filesystem::exists(made / "config.json")) {
    LW_TRY(bench::write_synthetic_llama(made, {}, 1));
  }
  return made;
}

plot::Chart one_panel(std::string title, std::string subtitle, std::vector<std::string> categories,
                      plot::Panel panel) {
  plot::Chart chart;
  chart.title = std::move(title);
  chart.subtitle = std::move(subtitle);
  chart.categories = std::move(categories);
  chart.panels.push_back(std::move(panel));
  return chart;
}

Run add_bench(CLI::App& app) {
  auto what = std::make_shared<std::string>();
  auto options = std::make_shared<BenchOptions>();
  app.add_option("WHAT", *what, "limits, quantize, reload, delta, diff, decode, plan or soak")
      ->required()
      ->check(CLI::IsMember({"limits", "quantize", "reload", "delta", "diff", "decode", "plan", "soak"}));
  add_path(app, "--directory", options->directory,
           "checkpoint to reload (default: random weights of a 1.1B Llama, made once; soak: the sample in "
           "samples/addition)");
  const auto* schemes = app.add_option("--quant", options->schemes,
                                       "schemes (default: all, one a kind; soak: int8_per_channel, and one)");
  app.add_option("--mode", options->mode, "reload and soak: flip, copy or in_place");
  app.add_option("--head", options->head, "decode: scheme of the head")->capture_default_str();
  app.add_option("--rounds", options->rounds, "interleaved rounds")->check(CLI::Range(1, 1000));
  add_path(app, "--plot", options->plot, "file (.svg or .png) for a chart of what was measured");
  auto soak = std::make_shared<SoakCommand>();
  soak->add_to(app);
  return [=]() -> Result<Outcome> {
    if (!options->plot.empty()) LW_TRY(plot::check_chart_file(options->plot));
    LW_ASSIGN(Measured measured, measure(*what, *options, *soak, schemes->count() > 0));
    if (options->plot.empty()) return std::move(measured.outcome);
    // What was measured for minutes is told even where it cannot be drawn.
    const Status drawn = plot::write_chart(measured.picture, options->plot);
    if (!drawn && !measured.outcome.refused) measured.outcome.refused = drawn.error();
    return std::move(measured.outcome);
  };
}

}  // namespace liveweight::cli
