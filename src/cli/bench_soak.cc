#include "cli/bench_soak.h"

#include <fmt/format.h>

#include "base/interrupt.h"
#include "cli/progress.h"
#include "cli/soak_picture.h"

namespace liveweight::cli {
namespace {

using bench::Histogram;
using bench::SoakKind;
using bench::SoakOutcome;
using bench::SoakReport;

constexpr double kLongest = 7 * 86400;
constexpr int kMostClients = 256;

double us_of(const Histogram& histogram, double share) {
  return static_cast<double>(histogram.quantile(share)) / 1e3;
}

Json to_json(const Histogram& nanoseconds) {
  return {{"count", nanoseconds.count()},
          {"p50", us_of(nanoseconds, 0.5)},
          {"p99", us_of(nanoseconds, 0.99)},
          {"p999", us_of(nanoseconds, 0.999)},
          {"max", static_cast<double>(nanoseconds.largest()) / 1e3}};
}

Json updates_of(const SoakReport& report, SoakOutcome outcome) {
  Json by_kind = {{"count", report.events(outcome)}};
  for (size_t i = 0; i < bench::kSoakKinds; ++i) {
    const auto kind = static_cast<SoakKind>(i);
    if (bench::outcome_of(kind) == outcome) by_kind[std::string(to_string(kind))] = report.log->events()[i];
  }
  return by_kind;
}

Json memory_of(const SoakReport& report) {
  Json samples = Json::array();
  for (const bench::SoakInterval& interval : report.log->intervals())
    samples.push_back(interval.private_bytes);
  return {{"warm_up_seconds", report.warm_up_seconds},
          {"warm_bytes", report.warm_bytes},
          {"end_bytes", report.end_bytes},
          {"growth_bytes", report.growth_bytes()},
          {"allowed_growth_bytes", report.allowed_growth_bytes},
          {"interval_seconds", report.log->interval_seconds()},
          {"samples", std::move(samples)}};
}

Json to_json(const SoakReport& report) {
  const bench::SoakLog& log = *report.log;
  return {{"directory", report.options.directory.string()},
          {"scheme", report.options.scheme},
          {"mode", to_string(report.options.mode)},
          {"seed", report.options.seed},
          {"clients", report.options.clients},
          {"tick_seconds", report.options.tick_seconds},
          {"seconds", report.seconds},
          {"interrupted", report.interrupted},
          {"requests", report.requests},
          {"spanning_requests", report.spanning_requests},
          {"tokens", report.tokens},
          {"tokens_compared", report.tokens_compared},
          {"failed_steps", report.failed_steps},
          {"taken", updates_of(report, SoakOutcome::kTaken)},
          {"refused", updates_of(report, SoakOutcome::kRefused)},
          {"aborted", report.events(SoakOutcome::kAborted)},
          {"rollbacks", report.events(SoakOutcome::kRolledBack)},
          {"digests_checked", report.digests_checked},
          {"addresses_unchanged", report.addresses_unchanged},
          {"step_us",
           {{"all", to_json(log.steps())},
            {"quiet", to_json(log.quiet_steps())},
            {"beside_update", to_json(log.steps_beside_updates())}}},
          {"pause_us", to_json(log.pauses())},
          {"memory", memory_of(report)},
          {"broken", report.broken.empty() ? Json() : Json(report.broken)},
          {"ok", report.broken.empty()}};
}

std::string latency_line(const char* name, const Histogram& histogram) {
  return fmt::format("{:<28} {:>10} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f}\n", name, histogram.count(),
                     us_of(histogram, 0.5), us_of(histogram, 0.99), us_of(histogram, 0.999),
                     static_cast<double>(histogram.largest()) / 1e3);
}

std::string to_text(const SoakReport& report) {
  const bench::SoakLog& log = *report.log;
  std::string text = fmt::format(
      "{:.0f} s, {}, {}, seed {}: {} requests, {} tokens, {} of them compared with cold loads; {} failed "
      "steps\n",
      report.seconds, report.options.scheme, to_string(report.options.mode), report.options.seed,
      report.requests, report.tokens, report.tokens_compared, report.failed_steps);
  text += fmt::format("updates: {} taken, {} refused, {} aborted, {} rollbacks; {} digests equal\n",
                      report.events(SoakOutcome::kTaken), report.events(SoakOutcome::kRefused),
                      report.events(SoakOutcome::kAborted), report.events(SoakOutcome::kRolledBack),
                      report.digests_checked);
  text += fmt::format("private memory: {} after the warm-up, {} at the end ({:+} bytes)\n\n",
                      human_bytes(report.warm_bytes), human_bytes(report.end_bytes), report.growth_bytes());
  text += fmt::format("{:<28} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "microseconds", "count", "p50", "p99",
                      "p999", "max");
  text += latency_line("steps", log.steps()) + latency_line("steps, no update running", log.quiet_steps()) +
          latency_line("steps beside an update", log.steps_beside_updates()) +
          latency_line("pause at commit", log.pauses());
  return text;
}

// Unlike CLI::Range this refuses what is not a number.
std::string seconds_fault(const std::string& text) {
  double seconds = 0;
  const bool fine = CLI::detail::lexical_cast(text, seconds) && seconds > 0 && seconds <= kLongest;
  return fine ? "" : fmt::format("expected more than 0 and at most {} seconds, got {}", kLongest, text);
}

}  // namespace

void SoakCommand::add_to(CLI::App& app) {
  app.add_option("--seconds", options.seconds, "soak: how long")
      ->check(CLI::Validator(seconds_fault, ""))
      ->capture_default_str();
  app.add_option("--every", options.tick_seconds, "soak: seconds from one update to the next")
      ->check(CLI::Validator(seconds_fault, ""))
      ->capture_default_str();
  app.add_option("--clients", options.clients, "soak: threads that ask")
      ->check(CLI::Range(1, kMostClients))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "soak: of the versions and the order of updates")
      ->capture_default_str();
}

Result<Measured> bench_soak(const SoakCommand& command) {
  if (command.schemes.size() != 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--quant: a soak expects one scheme, got {}", command.schemes.size()),
                {"--quant"});
  }
  bench::SoakOptions options = command.options;
  options.scheme = command.schemes.front();
  watch_for_interrupts();
  Result<SoakReport> run = [&] {
    constexpr double kTicks = 1000;
    Progress progress("bench soak", static_cast<int64_t>(kTicks));
    return bench::run_soak(options, [&](double seconds) {
      progress.update(static_cast<int64_t>(kTicks * seconds / options.seconds));
    });
  }();
  LW_ASSIGN(const SoakReport report, std::move(run));
  Measured out{{to_json(report), to_text(report), {}}, picture_of(report)};
  if (!report.broken.empty()) {
    out.outcome.refused = Error{ErrorCode::kInternal, "soak: a promise was broken: " + report.broken, {}};
  }
  return out;
}

}  // namespace liveweight::cli
