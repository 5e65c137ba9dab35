#include "demo/show.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "base/interrupt.h"
#include "demo/bad_checkpoints.h"
#include "demo/clients.h"
#include "infer/step_thread.h"

namespace liveweight::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRefresh{100};
constexpr std::chrono::milliseconds kGlance{5};
constexpr double kLongestStay =
    5;  // seconds, however slow the machine answers: the whole ends in two minutes

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class Show {
 public:
  Show(const ShowOptions& options, const Sample& sample, Reloads& reloads, Table& table)
      : options_(options), sample_(sample), reloads_(reloads), table_(table) {
    record_.scheme = options.scheme;
  }

  Result<Record> run() {
    const Clock::time_point begin = Clock::now();
    LW_TRY(take(sample_.checkpoints.front()));
    EngineOptions engine_options;
    engine_options.max_sequences = options_.clients;
    LW_ASSIGN(const auto engine, Engine::create(reloads_.model(), engine_options));
    const auto addresses = engine->addresses();
    StepThread server(*engine);
    Clients clients(sample_, server, ledger_, options_.clients);
    LW_TRY(take_all());
    clients.stop();
    record_.addresses_unchanged = engine->addresses() == addresses;
    record_.requests = ledger_.requests();
    record_.failed = ledger_.failed();
    record_.first_failure = ledger_.first_failure();
    record_.total = ledger_.total();
    record_.seconds = seconds_since(begin);
    record_.interrupted = interrupted();
    return std::move(record_);
  }

 private:
  // The first is there already.
  Status take_all() {
    const size_t count = sample_.checkpoints.size();
    stay();
    for (size_t i = 1; i < count && !interrupted(); ++i) {
      if (i == count / 2) LW_TRY(take_bad_ones(sample_.checkpoints[i]));
      LW_TRY(take(sample_.checkpoints[i]));
      stay();
    }
    return {};
  }

  Status take(const SampleCheckpoint& checkpoint) {
    Row row;
    row.checkpoint = checkpoint;
    LW_ASSIGN(row.reloaded, reloads_.take(sample_.path_of(checkpoint)));
    committed_ = Clock::now();
    record_.rows.push_back(std::move(row));
    return {};
  }

  Status take_bad_ones(const SampleCheckpoint& checkpoint) {
    LW_ASSIGN(const auto bad_ones, BadCheckpoints::make(sample_.path_of(checkpoint)));
    for (const BadCheckpoint& bad : bad_ones->all()) {
      BadUpdate update{fmt::format("{} with {}", checkpoint.name, bad.what), record_.rows.size(), {}};
      LW_ASSIGN(update.refused, reloads_.take_bad(bad.directory));
      table_.add(update);
      record_.bad_updates.push_back(std::move(update));
    }
    return {};
  }

  // Under the current version, until its time is over and every held-out problem was answered under it.
  void stay() {
    const double least = options_.seconds / static_cast<double>(sample_.checkpoints.size());
    Row& row = record_.rows.back();
    Clock::time_point shown = Clock::now();
    do {
      std::this_thread::sleep_for(kGlance);
      update(row);
      if (Clock::now() - shown < kRefresh) continue;
      table_.refresh(row);
      shown = Clock::now();
    } while (!interrupted() && (row.seconds < least || !all_answered(row)));
    table_.finish(row);
  }

  bool all_answered(const Row& row) const {
    return row.answers.whole >= static_cast<int64_t>(sample_.problems.size()) || row.seconds > kLongestStay;
  }

  void update(Row& row) const {
    row.answers = ledger_.of(row.reloaded.version);
    row.seconds = seconds_since(committed_);
    row.failed = ledger_.failed();
  }

  const ShowOptions& options_;
  const Sample& sample_;
  Reloads& reloads_;
  Table& table_;
  Ledger ledger_;
  Record record_;
  Clock::time_point committed_;
};

}  // namespace

Result<Record> run_show(const ShowOptions& options, Table& table) {
  LW_ASSIGN(const Scheme scheme, parse_scheme(options.scheme));
  LW_ASSIGN(const Sample sample, Sample::read(options.sample));
  LW_ASSIGN(Reloads reloads, Reloads::prepare(sample.path_of(sample.checkpoints.front()), scheme));
  table.begin(to_string(scheme), options.clients);
  return Show(options, sample, reloads, table).run();
}

}  // namespace liveweight::demo
