#include "bench/plan_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"

namespace liveweight::cli {

// About a hundred thousand checkpoint tensors: the size of today's largest mixtures of experts.
Result<Measured> bench_plan(const BenchOptions& options) {
  constexpr int64_t kLayers = 92, kExperts = 360;
  Measured out;
  Json results = Json::array();
  plot::Panel panel{"", "milliseconds", 0, {{"", plot::Mark::kBars, {}}}, "%.0f"};
  int64_t tensors = 0;
  for (const std::string& scheme : options.schemes) {
    LW_ASSIGN(const auto f, bench::measure_plan(kLayers, kExperts, scheme, options.rounds));
    out.outcome.text += fmt::format("{:<34} {} tensors: {:.1f} ms\n", scheme, f.tensors, f.seconds * 1e3);
    results.push_back(
        {{"scheme", scheme}, {"tensors", f.tensors}, {"parameters", f.parameters}, {"seconds", f.seconds}});
    panel.series[0].values.push_back(f.seconds * 1e3);
    tensors = f.tensors;
  }
  out.outcome.json = {{"rounds", options.rounds}, {"plan", std::move(results)}};
  out.picture = one_panel("Compiling a plan",
                          fmt::format("{} checkpoint tensors, medians of {} rounds", tensors, options.rounds),
                          options.schemes, std::move(panel));
  return out;
}

}  // namespace liveweight::cli
