#include "bench/diff_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"

namespace liveweight::cli {

Result<Measured> bench_diff(const BenchOptions& options) {
  LW_ASSIGN(const std::filesystem::path directory, options.checkpoint());
  LW_ASSIGN(const auto all, bench::measure_diff(directory, {1e-4, 1e-3, 1e-2}, options.rounds));
  Measured out;
  Json results = Json::array();
  plot::Panel panel{"", "share of the limit", 0, {{"", plot::Mark::kBars, {}}}, "%.2f"};
  std::vector<std::string> shares;
  out.outcome.text =
      fmt::format("{:>8} {:>11} {:>11} {:>11} {:>6}\n", "changed", "elements", "diff", "read", "share");
  for (const bench::DiffFigures& f : all) {
    shares.push_back(fmt::format("{:g} %", f.share * 100));
    panel.series[0].values.push_back(f.share_of_limit);
    const double gigabytes = static_cast<double>(f.bytes) / 1e9;
    out.outcome.text +=
        fmt::format("{:>8} {:>11} {:>6.1f} GB/s {:>6.1f} GB/s {:>6.2f}\n", shares.back(), f.changed,
                    gigabytes / f.diff_seconds, gigabytes / f.read_seconds, f.share_of_limit);
    results.push_back({{"share", f.share},
                       {"changed", f.changed},
                       {"bytes", f.bytes},
                       {"diff_seconds", f.diff_seconds},
                       {"read_seconds", f.read_seconds},
                       {"share_of_limit", f.share_of_limit}});
  }
  out.outcome.json = {
      {"directory", directory.string()}, {"rounds", options.rounds}, {"diff", std::move(results)}};
  out.picture =
      one_panel("Comparing two versions",
                fmt::format("share of the speed of reading both, medians of {} rounds", options.rounds),
                shares, std::move(panel));
  return out;
}

}  // namespace liveweight::cli
