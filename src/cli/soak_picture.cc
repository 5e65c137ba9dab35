#include "cli/soak_picture.h"

#include <fmt/format.h>

#include <cmath>

namespace liveweight::cli {
namespace {

using bench::SoakInterval;
using bench::SoakOutcome;

constexpr size_t kLabels = 10;
constexpr double kLong = 600;  // seconds

plot::Series series_of(const std::vector<SoakInterval>& intervals, const char* name, plot::Mark mark,
                       double (*value)(const SoakInterval&)) {
  plot::Series series{name, mark, {}};
  for (const SoakInterval& interval : intervals) series.values.push_back(value(interval));
  return series;
}

double milliseconds(const bench::Histogram& steps, double share) {
  return steps.count() > 0 ? static_cast<double>(steps.quantile(share)) / 1e6 : NAN;
}

double middle_ms(const SoakInterval& interval) {
  return milliseconds(interval.steps, 0.5);
}

double slow_ms(const SoakInterval& interval) {
  return milliseconds(interval.steps, 0.99);
}

double middle_beside_ms(const SoakInterval& interval) {
  return milliseconds(interval.steps_beside_updates, 0.5);
}

template <SoakOutcome outcome>
double events(const SoakInterval& interval) {
  return static_cast<double>(interval.events[static_cast<size_t>(outcome)]);
}

double private_megabytes(const SoakInterval& interval) {
  return interval.private_bytes > 0 ? static_cast<double>(interval.private_bytes) / 1e6 : NAN;
}

}  // namespace

plot::Chart picture_of(const bench::SoakReport& report) {
  const std::vector<SoakInterval>& intervals = report.log->intervals();
  const double length = report.log->interval_seconds();
  plot::Chart chart;
  chart.title = fmt::format("Soak: {} tokens beside {} updates, {} failed steps", report.tokens,
                            report.events(SoakOutcome::kTaken), report.failed_steps);
  chart.subtitle = fmt::format(
      "{:.0f} s, {}, {} clients, an update every {:.0f} ms. {} digests, all equal to cold loads: {}. Pause "
      "at "
      "commit, p99: {:.1f} µs.",
      report.seconds, report.options.scheme, report.options.clients, report.options.tick_seconds * 1e3,
      report.digests_checked, report.broken.empty() ? "yes" : "NO",
      static_cast<double>(report.log->pauses().quantile(0.99)) / 1e3);
  const bool in_minutes = report.seconds >= kLong;
  chart.x_label = in_minutes ? "minutes" : "seconds";
  for (size_t i = 0; i < intervals.size(); ++i) {
    const bool labelled = i % (intervals.size() / kLabels) == 0;
    const double at = static_cast<double>(i) * length / (in_minutes ? 60 : 1);
    chart.categories.push_back(labelled ? fmt::format("{:.3g}", at) : "");
  }
  const auto line = plot::Mark::kLine, bars = plot::Mark::kBars;
  chart.panels = {{"Latency of a step",
                   "ms",
                   0,
                   {series_of(intervals, "p50", line, middle_ms), series_of(intervals, "p99", line, slow_ms),
                    series_of(intervals, "p50 beside an update", line, middle_beside_ms)},
                   ""},
                  {fmt::format("Updates in {:.2g} s", length),
                   "count",
                   0,
                   {series_of(intervals, "taken", bars, events<SoakOutcome::kTaken>),
                    series_of(intervals, "refused", bars, events<SoakOutcome::kRefused>),
                    series_of(intervals, "rolled back", bars, events<SoakOutcome::kRolledBack>)},
                   ""},
                  {"Private memory", "MB", 0, {series_of(intervals, "", line, private_megabytes)}, ""}};
  return chart;
}

}  // namespace liveweight::cli
