#include "bench/plan_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"

namespace liveweight::cli {
namespace {

// The directory given, or one made at the first call and kept for the next.
Result<std::filesystem::path> small_tensors(const BenchOptions& options, int64_t layers, int64_t experts) {
  if (!options.directory.empty()) return std::filesystem::path(options.directory);
  const auto made = std::filesystem::temp_directory_path() / "liveweight-bench-small-tensors";
  if (!std::filesystem::exists(made / "config.json")) {
    LW_TRY(bench::write_small_tensors(made, layers, experts));
  }
  return made;
}

std::string to_line(const bench::PlanFigures& plan, const bench::SmallTensorFigures& f) {
  return fmt::format("{:<34} {:>8} {:>7.1f} ms {:>6.1f} ms {:>6.1f} ms {:>6.1f} ms {:>6.0f} ns\n", f.scheme,
                     f.tensors, plan.seconds * 1e3, f.open_seconds * 1e3, f.reload_seconds * 1e3,
                     f.floor_seconds * 1e3, f.overhead_seconds * 1e9);
}

Json to_json(const bench::PlanFigures& plan, const bench::SmallTensorFigures& f) {
  return {{"scheme", f.scheme},
          {"tensors", plan.tensors},
          {"parameters", plan.parameters},
          {"seconds", plan.seconds},
          {"small_tensors",
           {{"tensors", f.tensors},
            {"source_bytes", f.source_bytes},
            {"open_seconds", f.open_seconds},
            {"reload_seconds", f.reload_seconds},
            {"floor_seconds", f.floor_seconds},
            {"overhead_seconds_each", f.overhead_seconds}}}};
}

}  // namespace

// About a hundred thousand checkpoint tensors: the size of today's largest mixtures of experts.
Result<Measured> bench_plan(const BenchOptions& options) {
  constexpr int64_t kLayers = 92, kExperts = 360;
  LW_ASSIGN(const std::filesystem::path directory, small_tensors(options, kLayers, kExperts));
  Measured out;
  Json results = Json::array();
  const auto bars = plot::Mark::kBars;
  plot::Panel panel{
      "", "nanoseconds a tensor", 0, {{"plan", bars, {}}, {"open", bars, {}}, {"reload", bars, {}}}, "%.0f"};
  int64_t tensors = 0;
  out.outcome.text = fmt::format("{:<34} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9}\n", "scheme", "tensors", "plan",
                                 "open", "reload", "floor", "a tensor");
  for (const std::string& scheme : options.schemes) {
    LW_ASSIGN(const auto plan, bench::measure_plan(kLayers, kExperts, scheme, options.rounds));
    LW_ASSIGN(const auto f, bench::measure_small_tensors(directory, scheme, options.rounds));
    out.outcome.text += to_line(plan, f);
    results.push_back(to_json(plan, f));
    const auto nanoseconds = [&](double seconds) { return seconds / static_cast<double>(f.tensors) * 1e9; };
    panel.series[0].values.push_back(nanoseconds(plan.seconds));
    panel.series[1].values.push_back(nanoseconds(f.open_seconds));
    panel.series[2].values.push_back(nanoseconds(f.reload_seconds - f.floor_seconds));
    tensors = f.tensors;
  }
  out.outcome.json = {{"rounds", options.rounds}, {"plan", std::move(results)}};
  out.picture = one_panel("What a checkpoint tensor costs",
                          fmt::format("{} small ones: compiling their plan, opening their files, reloading "
                                      "beyond the floor; medians of {} rounds",
                                      tensors, options.rounds),
                          options.schemes, std::move(panel));
  return out;
}

}  // namespace liveweight::cli
