#include "bench/reload_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"
#include "cli/progress.h"

namespace liveweight::cli {
namespace {

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

}  // namespace

Result<Measured> bench_reload(const BenchOptions& options) {
  LW_ASSIGN(const CommitMode mode, parse_commit_mode(options.mode));
  LW_ASSIGN(const std::filesystem::path directory, options.checkpoint());
  Progress progress("bench reload", static_cast<int64_t>(options.schemes.size()));
  Measured out;
  Json results = Json::array();
  plot::Panel panel{"", "share of the floor", 1.1, {{"", plot::Mark::kBars, {}}}, "%.2f"};
  std::string& text = out.outcome.text;
  text = fmt::format("{:<34} {:>9} {:>9} {:>9} {:>9}\n", "scheme", "reload", "floor", "share", "source");
  for (const std::string& scheme : options.schemes) {
    LW_ASSIGN(const auto f, bench::measure_reload(directory, scheme, mode, options.rounds));
    text += fmt::format("{:<34} {:>6.1f} ms {:>6.1f} ms {:>9.2f} {:>4.1f} GB/s\n", scheme,
                        f.reload_seconds * 1e3, f.floor_seconds * 1e3, f.share,
                        static_cast<double>(f.source_bytes) / f.reload_seconds / 1e9);
    results.push_back(to_json(f));
    panel.series[0].values.push_back(f.share);
    progress.update(static_cast<int64_t>(results.size()));
  }
  out.outcome.json = {
      {"directory", directory.string()}, {"rounds", options.rounds}, {"reload", std::move(results)}};
  out.picture = one_panel(
      "Reloads under the roof of memory",
      fmt::format("speed as a share of reading the file and writing the live bytes; {}, medians of {} "
                  "interleaved rounds",
                  options.mode, options.rounds),
      options.schemes, std::move(panel));
  return out;
}

}  // namespace liveweight::cli
