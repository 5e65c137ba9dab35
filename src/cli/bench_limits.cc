#include <fmt/format.h>

#include "bench/limits_bench.h"
#include "cli/bench_command.h"

namespace liveweight::cli {

Result<Measured> bench_limits(const BenchOptions& options) {
  constexpr uint64_t kBytes = uint64_t{512} << 20;
  LW_ASSIGN(const auto all, bench::measure_limits(kBytes, options.rounds));
  Measured out;
  Json results = Json::array();
  std::vector<std::string> categories;
  plot::Panel panel{
      "", "GB/s", 0, {{"one thread", plot::Mark::kBars, {}}, {"all threads", plot::Mark::kBars, {}}}, "%.1f"};
  std::string& text = out.outcome.text;
  text = fmt::format("GB/s, read and written\n{:<20} {:<14} {:>12} {:>12}\n", "loop", "stores", "one thread",
                     "all threads");
  for (const bench::LimitFigures& f : all) {
    text += fmt::format("{:<20} {:<14} {:>12.1f} {:>12.1f}\n", f.loop, f.stores, f.one_thread_gb_per_s,
                        f.all_threads_gb_per_s);
    results.push_back({{"loop", f.loop},
                       {"stores", f.stores},
                       {"one_thread_gb_per_s", f.one_thread_gb_per_s},
                       {"all_threads_gb_per_s", f.all_threads_gb_per_s}});
    categories.push_back(f.stores.empty() ? f.loop : f.loop + ", " + f.stores);
    panel.series[0].values.push_back(f.one_thread_gb_per_s);
    panel.series[1].values.push_back(f.all_threads_gb_per_s);
  }
  out.outcome.json = {{"buffer_bytes", kBytes}, {"rounds", options.rounds}, {"limits", std::move(results)}};
  out.picture = one_panel("What the machine's memory can do",
                          fmt::format("bytes read and written a second; \"2 to 1\" writes one for two that "
                                      "it reads; buffers of {}, medians of {} rounds",
                                      human_bytes(kBytes), options.rounds),
                          std::move(categories), std::move(panel));
  return out;
}

}  // namespace liveweight::cli
