// I3 at every step of an update and of its mirror: an error, a short read or write, a delay, an exception,
// the end of memory, the end of the process.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>

#include "base/guarded.h"
#include "base/seam.h"
#include "base/threads.h"
#include "live/delta_fleet.h"

namespace liveweight::testing {
namespace {

enum class Kind { kError, kException, kAllocation, kDelay, kShort, kKill };
constexpr const char* kKindNames[] = {"an error", "an exception",        "an allocation that fails",
                                      "a delay",  "short reads, writes", "a kill"};
constexpr const char* kStepNames[] = {"open",  "map",     "read",   "chunk", "quantize",
                                      "stage", "prepare", "a vote", "flip",  "mirror write",
                                      "write", "sync",    "rename"};
static_assert(std::size(kStepNames) == kSteps);

// What goes wrong, at the `at`-th time that the step is reached.
class Trouble : public Seam {
 public:
  Trouble(Step step, Kind kind, int64_t at) : step_(step), kind_(kind), at_(at) { set_seam(this); }
  ~Trouble() override { set_seam(nullptr); }

  Status reached(Step step) override {
    if (step != step_ || kind_ == Kind::kShort || count_++ != at_) return {};
    fired_ = true;
    if (kind_ == Kind::kError) return fail(ErrorCode::kIo, "the test wants this to fail", {"test"});
    if (kind_ == Kind::kException) throw std::runtime_error("the test throws this");
    if (kind_ == Kind::kAllocation) throw std::bad_alloc();
    if (kind_ == Kind::kKill) kill(getpid(), SIGKILL);
    usleep(500);
    return {};
  }

  size_t shortened(Step step, size_t bytes) override {
    if (step != step_ || kind_ != Kind::kShort || bytes == 1) return bytes;
    fired_ = true;
    return bytes / 2;
  }

  bool fired() const { return fired_; }
  bool harmless() const { return kind_ == Kind::kDelay || kind_ == Kind::kShort; }
  std::string describe() const {
    return fmt::format("{} at {} {}", kKindNames[static_cast<int>(kind_)],
                       kStepNames[static_cast<int>(step_)], at_);
  }

 private:
  const Step step_;
  const Kind kind_;
  const int64_t at_;
  std::atomic<int64_t> count_{0};
  std::atomic<bool> fired_{false};
};

Status begin_all(Fleet& fleet, const UpdateOptions& options, std::vector<Update>& updates) {
  for (const auto& rank : fleet.live) {
    LW_ASSIGN(Update update, rank->begin_update(options));
    updates.push_back(std::move(update));
  }
  return {};
}

// Every tensor, from a file on disk, some of them in pieces.
Status put_checkpoint(Fleet& fleet, uint64_t seed) {
  Random random(seed);
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(fleet.directory.path() / "next"));
  std::vector<Update> updates;
  LW_TRY(begin_all(fleet, {}, updates));
  for (Update& update : updates) {
    for (const CheckpointTensor& tensor : checkpoint.tensors()) {
      const int64_t half = element_count(tensor.view.shape) / 2;
      if (half == 0 || between(random, 0, 3) > 0) {
        LW_TRY(update.borrow(tensor.name, tensor.view));
        continue;
      }
      LW_TRY(put_run(update, tensor.name, tensor.view, 0, half));
      LW_TRY(put_run(update, tensor.name, tensor.view, half, element_count(tensor.view.shape) - half));
    }
  }
  LW_TRY(commit_together(updates));
  return {};
}

Status put_mirrors(Fleet& fleet) {
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(fleet.directory.path() / "next"));
  for (size_t rank = 0; rank < fleet.live.size(); ++rank) {
    const bool shared = rank > 0 && fleet.mirrors[rank] == fleet.mirrors[0];
    if (!shared) LW_TRY(fleet.mirrors[rank]->replace(checkpoint, same_name, "whole"));
    LW_TRY(fleet.live[rank]->attach_mirror(fleet.mirrors[rank]));
  }
  return {};
}

Status put_delta(Fleet& fleet, const Weights& next) {
  UpdateOptions options;
  options.deltas = true;
  options.label = "changed";
  std::vector<Update> updates;
  LW_TRY(begin_all(fleet, options, updates));
  for (Update& update : updates) LW_TRY(update.put_deltas(deltas_between(fleet.current, next)));
  LW_TRY(commit_together(updates));
  return {};
}

bool is_of_layer(const std::string& name) {
  return name.starts_with("model.layers.0.");
}

// The whole tensors of one layer, which the mirrors follow.
Status put_layer(Fleet& fleet, const Weights& next) {
  UpdateOptions options;
  options.scope = {"model.layers.0"};
  options.label = "a layer";
  std::vector<Update> updates;
  LW_TRY(begin_all(fleet, options, updates));
  for (Update& update : updates) {
    for (const auto& [name, entry] : next.tensors) {
      if (is_of_layer(name)) LW_TRY(update.borrow(name, next.view(name)));
    }
  }
  LW_TRY(commit_together(updates));
  return {};
}

Weights with_another_layer(Random& random, const Weights& current) {
  Weights next = current;
  for (auto& [name, entry] : changed(random, current).tensors) {
    if (is_of_layer(name)) next.tensors[name] = entry;
  }
  return next;
}

Status catch_all_up(Fleet& fleet) {
  for (const auto& rank : fleet.live) LW_TRY(rank->catch_up());
  return {};
}

class Seams : public ::testing::Test {
 protected:
  // With trouble, then without where it failed. The fleet should be at `next` afterwards, and where it was
  // before that.
  template <typename Work>
  void suffer(Fleet& fleet, const char* what, const Work& work, const Weights& next) {
    Status status;
    bool harmless = false;
    const uint64_t number = fleet.live[0]->version().number;
    {
      Trouble trouble(step_, kind_, at_);
      status = guarded(work);
      fired_ |= trouble.fired();
      harmless = trouble.harmless() || !trouble.fired();
    }
    ASSERT_TRUE(status || !harmless) << what << ": " << status.error().message;
    if (!status) {
      EXPECT_THAT(status.error().message, ::testing::Not(::testing::HasSubstr("\n")));
      fleet.expect_cold(fmt::format("{} that failed ({})", what, status.error().message));
      ASSERT_FALSE(has_failed());
      status = work();
      ASSERT_TRUE(status) << what << ", again: " << status.error().message;
    }
    fleet.current = next;
    fleet.expect_cold(what);
    // One that was committed and taken back, as another rank could not follow, has had numbers.
    if (fleet.size > 1) return;
    EXPECT_LE(fleet.live[0]->version().number, number + 1) << what;
  }

  void live_through(Random& random, uint64_t seed, Fleet& fleet) {
    const auto addresses = addresses_of(*fleet.live[0]);
    Weights next = fleet.model.weights(random);
    write_checkpoint(fleet.directory.path() / "next", next);
    suffer(
        fleet, "a checkpoint", [&] { return put_checkpoint(fleet, seed); }, next);
    if (!has_failed())
      suffer(
          fleet, "a mirror", [&] { return put_mirrors(fleet); }, next);
    for (int i = 0; i < 2 && !has_failed(); ++i) {
      next = with_another_layer(random, fleet.current);
      suffer(
          fleet, "a layer", [&] { return put_layer(fleet, next); }, next);
      if (has_failed()) return;
      next = changed(random, fleet.current);
      suffer(
          fleet, "a delta", [&] { return put_delta(fleet, next); }, next);
      if (i == 0 || has_failed()) continue;
      suffer(
          fleet, "catching up", [&] { return catch_all_up(fleet); }, next);
      for (const auto& mirror : fleet.mirrors) {
        ASSERT_FALSE(mirror->unsettled());
        fleet.expect_mirrored(*mirror);
      }
    }
    EXPECT_EQ(addresses_of(*fleet.live[0]), addresses);
  }

  Step step_ = Step::kOpen;
  Kind kind_ = Kind::kError;
  int64_t at_ = 0;
  bool fired_ = false;
};

TEST_F(Seams, ThatFailLeaveTheModelAsItWasAndTheNextGoodUpdateWorks) {
  constexpr int kKinds = static_cast<int>(Kind::kKill);
  bool fired[kSteps][kKinds] = {};
  int first_times = 0;
  for_each_seed(2 * kSteps * kKinds, [&](Random& random, uint64_t seed) {
    const bool first_time = seed <= kSteps * kKinds;
    first_times += first_time;
    Fleet fleet(random, seed, between(random, 1, 2), first_time || between(random, 0, 3) > 0);
    if (between(random, 0, 1) == 0) fleet.share_mirror();
    const auto which = static_cast<int>(seed % (kSteps * kKinds));
    step_ = static_cast<Step>(which / kKinds);
    kind_ = static_cast<Kind>(which % kKinds);
    at_ = first_time ? 0 : between(random, 0, 12);
    fired_ = false;
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: {} {} of {}, {} ranks, {} {}",
                             seed, kKindNames[which % kKinds], at_, kStepNames[which / kKinds], fleet.size,
                             to_string(fleet.options.mode), fleet.model.text()));
    live_through(random, seed, fleet);
    ASSERT_FALSE(has_failed());
    fired[which / kKinds][which % kKinds] |= fired_;
  });
  if (first_times < kSteps * kKinds) return;
  for (int step = 0; step < kSteps; ++step) {
    for (int kind = 0; kind < kKinds; ++kind) {
      const bool moves_bytes = step == static_cast<int>(Step::kRead) ||
                               step == static_cast<int>(Step::kWrite) ||
                               step == static_cast<int>(Step::kMirrorWrite);
      if (kind == static_cast<int>(Kind::kShort) && !moves_bytes) continue;
      EXPECT_TRUE(fired[step][kind]) << kKindNames[kind] << " never came at " << kStepNames[step];
    }
  }
}

// Whether the mirror on disk is whole and one of the two.
void expect_one_of(const std::filesystem::path& path, const Weights& old, const std::string& old_version,
                   const Weights& next) {
  const auto mirror = Mirror::open(path);
  ASSERT_TRUE(mirror) << mirror.error().message;
  ASSERT_TRUE((*mirror)->settle());
  ASSERT_TRUE((*mirror)->verify()) << (*mirror)->verify().error().message;
  expect_holds(**mirror, (*mirror)->version() == old_version ? old : next);
}

// Runs `work` in a process that dies at the `at`-th of those steps. False where it came to its end.
template <typename Work>
bool die_during(const Work& work, Step step, int64_t at) {
  const pid_t child = fork();
  if (child == 0) {
    const Trouble trouble(step, Kind::kKill, at);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

TEST_F(Seams, WhereTheProcessDiesLeaveTheMirrorAtOneWholeVersion) {
  set_default_threads(1);  // a process that was forked has no threads but its own
  if (ThreadPool::shared().threads() != 1)
    GTEST_SKIP() << "threads run already: ctest has a process for each test";
  constexpr Step kOnDisk[] = {Step::kOpen,  Step::kMap,  Step::kRead,  Step::kMirrorWrite,
                              Step::kWrite, Step::kSync, Step::kRename};
  int64_t deaths = 0;
  for_each_seed(2, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, 1, true);
    const Weights next = changed(random, fleet.current);
    write_checkpoint(fleet.directory.path() / "next", next);
    const auto path = fleet.directory.path() / "mirror0";
    const auto again = [&] {
      ASSERT_TRUE(
          fleet.mirrors[0]->replace(write_checkpoint(fleet.directory.path(), fleet.current), same_name, ""));
      ASSERT_TRUE(fleet.live[0]->attach_mirror(fleet.mirrors[0]));
    };
    const auto delta = [&]() -> Status {
      LW_TRY(put_delta(fleet, next));
      return fleet.live[0]->catch_up();
    };
    const auto whole = [&] { return put_mirrors(fleet); };
    for (const Step step : kOnDisk) {
      SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={}: {}", seed, kStepNames[static_cast<int>(step)]));
      for (int64_t at = 0; die_during(delta, step, at); ++at, ++deaths) {
        expect_one_of(path, fleet.current, "", next);
        again();
        ASSERT_FALSE(has_failed());
      }
      again();
      for (int64_t at = 0; die_during(whole, step, at); ++at, ++deaths) {
        expect_one_of(path, fleet.current, "", next);
        again();
        ASSERT_FALSE(has_failed());
      }
      again();
    }
  });
  EXPECT_GT(deaths, 60);
}

}  // namespace
}  // namespace liveweight::testing
