#include <fmt/format.h>

#include "bench/quantize_bench.h"
#include "cli/bench_command.h"
#include "cli/progress.h"
#include "quantize/quantize.h"

namespace liveweight::cli {
namespace {

Json to_json(const bench::QuantizeFigures& f) {
  return {{"scheme", f.scheme},
          {"source", to_string(f.source)},
          {"source_bytes", f.source_bytes},
          {"live_bytes", f.live_bytes},
          {"seconds", f.seconds},
          {"limit_seconds", f.limit_seconds},
          {"share_of_limit", f.share},
          {"source_gb_per_s", static_cast<double>(f.source_bytes) / f.seconds / 1e9}};
}

std::string to_line(const bench::QuantizeFigures& f) {
  return fmt::format("{:<34} {:>6} {:>6.1f} ms {:>6.1f} ms {:>9.2f} {:>4.1f} GB/s\n", f.scheme,
                     to_string(f.source), f.seconds * 1e3, f.limit_seconds * 1e3, f.share,
                     static_cast<double>(f.source_bytes) / f.seconds / 1e9);
}

}  // namespace

Result<Measured> bench_quantize(const BenchOptions& options) {
  constexpr DType kSources[] = {DType::kBF16, DType::kF16, DType::kF32};
  Measured out;
  Json results = Json::array();
  plot::Panel panel{"", "share of the limit", 1.1, {}, "%.2f"};
  for (const DType source : kSources) {
    panel.series.push_back({"from " + std::string(to_string(source)), plot::Mark::kBars, {}});
  }
  out.outcome.text = fmt::format("{:<34} {:>6} {:>9} {:>9} {:>9} {:>9}\n", "scheme", "from", "ours", "limit",
                                 "share", "source");
  Progress progress("bench quantize", static_cast<int64_t>(options.schemes.size() * std::size(kSources)));
  for (const std::string& scheme : options.schemes) {
    for (size_t i = 0; i < std::size(kSources); ++i) {
      LW_ASSIGN(const auto f, bench::measure_quantize(scheme, kSources[i], options.rounds));
      out.outcome.text += to_line(f);
      results.push_back(to_json(f));
      panel.series[i].values.push_back(f.share);
      progress.update(static_cast<int64_t>(results.size()));
    }
  }
  out.outcome.json = {
      {"instructions", quantize_target()}, {"rounds", options.rounds}, {"quantize", std::move(results)}};
  out.picture = one_panel(
      "Quantizers under the roof of memory",
      fmt::format("speed as a share of a loop that reads and writes as many bytes; {}, medians of {} "
                  "interleaved rounds",
                  quantize_target(), options.rounds),
      options.schemes, std::move(panel));
  return out;
}

}  // namespace liveweight::cli
