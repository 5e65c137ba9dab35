#include "bench/soak.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <thread>

#include "base/interrupt.h"
#include "bench/resident.h"
#include "bench/soak_traffic.h"

namespace liveweight::bench {
namespace {

constexpr size_t kIntervals = 120;
constexpr int64_t kMaxTokens = 64;
constexpr double kWarmUpShare = 0.25;
// What an allocator may come to keep of blocks that come and go on a dozen threads: some, and a share of all.
constexpr uint64_t kAllowedGrowth = uint64_t{256} << 10;
constexpr uint64_t kAllowedShare = 1000;

EngineOptions engine_options(const SoakOptions& options, const ModelConfig& config) {
  EngineOptions engine;
  engine.max_sequences = options.clients;
  engine.max_tokens = std::min(kMaxTokens, config.max_position);
  return engine;
}

SoakReport begin_report(const SoakOptions& options) {
  SoakReport report;
  report.options = options;
  report.warm_up_seconds = options.seconds * kWarmUpShare;
  report.log = std::make_unique<SoakLog>(options.seconds, kIntervals);
  return report;
}

class Soak {
 public:
  Soak(const SoakOptions& options, const SoakVersions& versions, LiveModel& model, Engine& engine,
       std::shared_ptr<Mirror> mirror)
      : report_(begin_report(options)),
        engine_(engine),
        updates_(model, versions, std::move(mirror), options.seed),
        steps_(engine, {[this] { report_.log->step_begins(); }, [this] { report_.log->step_ends(); }}),
        traffic_(versions, steps_, options.clients) {}

  SoakReport run(const std::function<void(double)>& progress) {
    const auto addresses = engine_.addresses();
    auto tick = Clock::now();
    const auto tick_length = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(report_.options.tick_seconds));
    do {  // at least once: making ready may outlive a short soak's time
      tick = std::max(tick + tick_length, Clock::now());
      std::this_thread::sleep_until(tick);
      update_once();
      sample_memory();
      look_for_faults();
      progress(report_.log->seconds());
    } while (report_.log->seconds() < report_.options.seconds && report_.broken.empty() && !interrupted());
    traffic_.stop();
    steps_.stop();
    report_.addresses_unchanged = engine_.addresses() == addresses;
    return finish();
  }

 private:
  void update_once() {
    report_.log->update_begins();
    const Result<SoakEvent> event = updates_.next();
    if (!event) return note_broken(event.error().message);
    report_.log->update_ends(*event);
    report_.log->check_begins();
    const Status equal = updates_.check_digest();
    report_.log->check_ends();
    if (!equal) return note_broken(equal.error().message);
    ++report_.digests_checked;
  }

  // With all threads at work. What the allocator keeps of freed blocks is handed back first: how much that is
  // jumps by its own rules (glibc keeps up to twice the largest block that it has mapped and freed so far).
  void sample_memory() {
    malloc_trim(0);
    report_.log->note_memory(anonymous_bytes());
  }

  void look_for_faults() {
    if (const auto fault = steps_.fault()) {
      report_.failed_steps = 1;
      note_broken(fmt::format("a step failed: {}", fault->message));
    }
    if (const std::string fault = traffic_.fault(); !fault.empty()) note_broken(fault);
  }

  SoakReport finish() {
    report_.seconds = report_.log->seconds();
    report_.interrupted = interrupted();
    report_.requests = traffic_.requests();
    report_.spanning_requests = traffic_.spanning();
    report_.tokens = traffic_.tokens();
    report_.tokens_compared = traffic_.tokens_compared();
    look_for_faults();
    if (!report_.addresses_unchanged) note_broken("an address that the captured step holds has changed");
    compare_memory();
    return std::move(report_);
  }

  void compare_memory() {
    const double warm = report_.warm_up_seconds, stretch = warm / 2;
    // Requests in flight may outlive the time by more than a stretch, in which nothing is sampled.
    const double end = std::min(report_.seconds, report_.options.seconds);
    report_.warm_bytes = report_.log->least_memory(warm - stretch, warm);
    report_.end_bytes = report_.log->least_memory(end - stretch, end);
    report_.allowed_growth_bytes = kAllowedGrowth + report_.warm_bytes / kAllowedShare;
    if (report_.growth_bytes() > static_cast<int64_t>(report_.allowed_growth_bytes) &&
        report_.seconds > report_.warm_up_seconds) {
      note_broken(fmt::format("private memory grew from {} to {} bytes after the warm-up, and {} are allowed",
                              report_.warm_bytes, report_.end_bytes, report_.allowed_growth_bytes));
    }
  }

  void note_broken(const std::string& how) {
    if (report_.broken.empty()) report_.broken = fmt::format("{:.1f} s: {}", report_.log->seconds(), how);
  }

  SoakReport report_;
  Engine& engine_;
  SoakUpdates updates_;
  StepThread steps_;
  SoakTraffic traffic_;
};

}  // namespace

int64_t SoakReport::events(SoakOutcome outcome) const {
  int64_t count = 0;
  for (size_t kind = 0; kind < kSoakKinds; ++kind) {
    if (outcome_of(static_cast<SoakKind>(kind)) == outcome) count += log->events()[kind];
  }
  return count;
}

Result<SoakReport> run_soak(const SoakOptions& options, const std::function<void(double)>& progress) {
  if (options.mode == CommitMode::kInPlace) {
    return fail(ErrorCode::kUnsupported,
                "soak: expected the mode flip or copy: in_place takes no deltas and does not roll back");
  }
  LoadOptions load;
  load.mode = options.mode;
  LW_ASSIGN(const Scheme scheme, parse_scheme(options.scheme));
  load.quantization = QuantizationConfig::uniform(scheme);
  LW_ASSIGN(const ModelDirectory directory, open_model_directory(options.directory));
  const EngineOptions engine_setup = engine_options(options, directory.description.config);
  LW_ASSIGN(const SoakVersions versions, SoakVersions::make(directory, load, engine_setup, options.seed));
  const SoakVersion& first = versions.all().front();
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(first.directory));
  load.label = first.name;
  LW_ASSIGN(const auto model, load_model(opened, load));
  LW_ASSIGN(auto mirror, Mirror::open(versions.mirror_directory()));
  LW_ASSIGN(const auto engine, Engine::create(*model, engine_setup));
  return Soak(options, versions, *model, *engine, std::move(mirror)).run(progress);
}

}  // namespace liveweight::bench
