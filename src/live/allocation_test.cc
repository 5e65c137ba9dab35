// I3 where memory ends: every allocation of an update fails in its turn, once or from then on.
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "live/delta_fleet.h"

namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Allocations are counted, and those from `first` to `last` fail.
std::atomic<int64_t> g_count{0}, g_first{kNever}, g_last{kNever};

void* allocate(size_t bytes, size_t alignment) {
  const int64_t number = g_count.fetch_add(1, std::memory_order_relaxed);
  if (number >= g_first.load(std::memory_order_relaxed) && number <= g_last.load(std::memory_order_relaxed)) {
    throw std::bad_alloc();
  }
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) {
  return allocate(bytes, alignof(std::max_align_t));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return allocate(bytes, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace liveweight::testing {
namespace {

// What `work` gives while the `first`-th allocation from here on fails, or all from it on; `worked` false
// where memory ended in the test's own part of it.
template <typename Work>
bool works_without_memory(const Work& work, int64_t first, bool once) {
  bool worked = false;
  g_count = 0;
  g_last = once ? first : kNever;
  g_first = first;
  try {
    worked = work().has_value();
  } catch (const std::bad_alloc&) {
  }
  g_first = kNever;
  return worked;
}

template <typename Work>
int64_t allocations_of(const Work& work) {
  g_count = 0;
  EXPECT_TRUE(work());
  return g_count;
}

class Allocations : public ::testing::Test {
 protected:
  // `work` brings the fleet to `next`; every time that it fails the fleet is where it was.
  template <typename Work>
  void starve(Random& random, Fleet& fleet, const Work& work, const Weights& next, int64_t allocations) {
    // Most of what an update allocates, it allocates in its first calls.
    const int64_t at = between(random, 0, between(random, 1, allocations));
    const bool once = between(random, 0, 1) == 1;
    SCOPED_TRACE(
        fmt::format("allocation {} of about {}{}", at, allocations, once ? "" : " and all after it"));
    const bool worked = works_without_memory(work, at, once);
    failed_ += worked ? 0 : 1;
    if (!worked) {
      fleet.expect_cold("where memory ended");
      ASSERT_FALSE(has_failed());
      const auto status = work();
      ASSERT_TRUE(status) << status.error().message;
    }
    fleet.current = next;
    fleet.expect_cold("where memory is there again");
  }

  int failed_ = 0;
};

TEST_F(Allocations, ThatFailLeaveTheModelAsItWasAndTheNextGoodUpdateWorks) {
  const uint64_t rounds = for_each_seed(60, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, 1, between(random, 0, 1) == 1);
    LiveModel& live = *fleet.live[0];
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: {} {}", seed,
                             to_string(fleet.options.mode), fleet.model.text()));
    const auto same = [&] { return put_all(live, fleet.current); };
    const int64_t of_a_load = allocations_of(same);
    Weights next = fleet.model.weights(random);
    starve(
        random, fleet, [&] { return put_all(live, next); }, next, of_a_load);
    ASSERT_FALSE(has_failed());
    fleet.attach();
    for (int i = 0; i < 3; ++i) {
      next = changed(random, fleet.current);
      const auto deltas = deltas_between(fleet.current, next);
      const auto work = [&] { return commit_deltas(live, deltas); };
      starve(random, fleet, work, next, 40 + static_cast<int64_t>(deltas.size()) * 30);
      ASSERT_FALSE(has_failed());
    }
    starve(
        random, fleet, [&] { return live.catch_up(); }, next, 60);
    ASSERT_FALSE(has_failed());
    fleet.expect_mirrored(*fleet.mirrors[0]);
  });
  EXPECT_GT(failed_, static_cast<int>(rounds)) << "most of the allocations asked for are not there";
}

// Between the mirror's note of an update and the commit, too: what the mirror has noted the model knows of.
class EachAllocation : public ::testing::TestWithParam<bool> {};

TEST_P(EachAllocation, OfADeltaMayFailAndTheNextTryWorks) {
  const bool once = GetParam();
  Random random(1);
  Fleet fleet(random, 1, 1, true);
  LiveModel& live = *fleet.live[0];
  ASSERT_TRUE(put_all(live, fleet.current));
  fleet.attach();
  constexpr int64_t kMoreThanThereAre = 600;
  int failed = 0;
  for (int64_t at = 0; at < kMoreThanThereAre && !HasFailure(); ++at) {
    const Weights next = changed(random, fleet.current);
    const auto deltas = deltas_between(fleet.current, next);
    const auto work = [&] { return commit_deltas(live, deltas); };
    if (!works_without_memory(work, at, once)) {
      ++failed;
      const auto status = work();
      ASSERT_TRUE(status) << "allocation " << at << ": " << status.error().message;
    }
    fleet.current = next;
    ASSERT_TRUE(live.catch_up());
    fleet.expect_cold(fmt::format("allocation {}", at));
    fleet.expect_mirrored(*fleet.mirrors[0]);
  }
  EXPECT_GT(failed, 100);
}

TEST_P(EachAllocation, OfCatchingUpAndOfARollbackAfterItMayFailAndTheNextTryWorks) {
  const bool once = GetParam();
  Random random(2);
  Fleet fleet(random, 1, 1, false);
  LiveModel& live = *fleet.live[0];
  constexpr int64_t kMoreThanThereAre = 200;
  int failed = 0, went_back = 0;
  const auto try_twice = [&](int64_t at, const auto& work) {
    if (works_without_memory(work, at, once)) return;
    ++failed;
    fleet.expect_cold("where memory ended");
    const auto status = work();
    ASSERT_TRUE(status) << "allocation " << at << ": " << status.error().message;
  };
  for (int64_t at = 0; at < kMoreThanThereAre && !HasFailure(); ++at) {
    const Weights next = changed(random, fleet.current);
    fleet.apply(next);
    try_twice(at, [&] { return live.catch_up(); });
    if (!live.can_roll_back()) continue;
    ++went_back;
    try_twice(at, [&] { return live.rollback(); });
    std::swap(fleet.current, *fleet.previous);
    fleet.expect_cold(fmt::format("allocation {}", at));
  }
  EXPECT_GT(failed, 20);
  EXPECT_GT(went_back, 50);
}

INSTANTIATE_TEST_SUITE_P(Memory, EachAllocation, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "ThatOne" : "AllFromItOn"; });

}  // namespace
}  // namespace liveweight::testing
