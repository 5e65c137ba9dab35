#include "bench/delta_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"
#include "cli/progress.h"

namespace liveweight::cli {
namespace {

using bench::DeltaFigures;

Json to_json(const DeltaFigures& f) {
  return {{"scheme", f.scheme},
          {"share", f.share},
          {"changed", f.changed},
          {"whole_units", f.whole_units},
          {"update_seconds", f.update_seconds},
          {"floor_seconds", f.floor_seconds},
          {"times_floor", f.times_floor},
          {"steady_times_floor", f.steady_times_floor > 0 ? Json(f.steady_times_floor) : Json()},
          {"behind_seconds", f.behind_seconds}};
}

std::string to_line(const DeltaFigures& f) {
  const std::string steady = f.steady_times_floor > 0 ? fmt::format("{:.2f}", f.steady_times_floor) : "";
  return fmt::format("{:<24} {:>7.3f}% {:>10} {:>8.2f} ms {:>8.2f} ms {:>8.2f} {:>8} {:>8} {:>8.2f} ms\n",
                     f.scheme, f.share * 100, f.changed, f.update_seconds * 1e3, f.floor_seconds * 1e3,
                     f.times_floor, steady, f.whole_units, f.behind_seconds * 1e3);
}

plot::Series line_of(const std::vector<DeltaFigures>& all, const std::string& name,
                     double (*value)(const DeltaFigures&)) {
  plot::Series series{name, plot::Mark::kLine, {}};
  for (const DeltaFigures& f : all) series.values.push_back(value(f));
  return series;
}

double nanoseconds(const DeltaFigures& f) {
  return f.update_seconds / static_cast<double>(f.changed) * 1e9;
}

double floor_nanoseconds(const DeltaFigures& f) {
  return f.floor_seconds / static_cast<double>(f.changed) * 1e9;
}

double times_floor(const DeltaFigures& f) {
  return f.times_floor;
}

}  // namespace

// A cost that is linear in the changes is a level line in the picture.
Result<Measured> bench_delta(const BenchOptions& options) {
  const std::vector<double> shares = {1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2};
  LW_ASSIGN(const std::filesystem::path directory, options.checkpoint());
  Progress progress("bench delta", static_cast<int64_t>(options.schemes.size()));
  Measured out;
  Json results = Json::array();
  plot::Panel cost{"Nanoseconds a changed element", "ns", 0, {}, ""};
  plot::Panel ratio{"Times the scatter floor", "ratio", 0, {}, ""};
  out.outcome.text =
      fmt::format("{:<24} {:>8} {:>10} {:>11} {:>11} {:>8} {:>8} {:>8} {:>11}\n", "scheme", "share",
                  "elements", "update", "floor", "ratio", "steady", "whole", "behind");
  int64_t done = 0;
  for (const std::string& scheme : options.schemes) {
    LW_ASSIGN(const auto all, bench::measure_deltas(directory, scheme, shares, options.rounds));
    for (const DeltaFigures& f : all) {
      out.outcome.text += to_line(f);
      results.push_back(to_json(f));
    }
    cost.series.push_back(line_of(all, scheme, nanoseconds));
    ratio.series.push_back(line_of(all, scheme, times_floor));
    if (++done == static_cast<int64_t>(options.schemes.size())) {
      cost.series.push_back(line_of(all, "scatter floor", floor_nanoseconds));
    }
    progress.update(done);
  }
  out.outcome.json = {
      {"directory", directory.string()}, {"rounds", options.rounds}, {"delta", std::move(results)}};
  out.picture.title = "Deltas cost what they change";
  out.picture.subtitle =
      fmt::format("from decoded changes in memory to the commit, medians of {} rounds", options.rounds);
  out.picture.x_label = "share of the elements that change";
  for (const double share : shares) out.picture.categories.push_back(fmt::format("{:g} %", share * 100));
  out.picture.panels = {std::move(cost), std::move(ratio)};
  return out;
}

}  // namespace liveweight::cli
