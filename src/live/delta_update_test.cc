// Deltas into live weights: whatever came before, the bits are those of a cold load.
#include <gtest/gtest.h>

#include "live/delta_fleet.h"

namespace liveweight::testing {
namespace {

void dense(Random& random, Fleet& fleet) {
  const Weights next = fleet.model.weights(random);
  for (const auto& rank : fleet.live) ASSERT_TRUE(put_all(*rank, next));
  fleet.went_to(next);
  fleet.attach();
}

constexpr uint64_t kSurelyNoted = uint64_t{300} << 10;  // of whole tensors, all of whose elements change

void partial(Random& random, Fleet& fleet) {
  const Weights other = fleet.model.weights(random);
  UpdateOptions options;
  options.scope = {"model.layers.0"};
  Weights next = fleet.current;
  bool noted = true;
  for (const auto& rank : fleet.live) {
    auto update = rank->begin_update(options);
    ASSERT_TRUE(update);
    for (const auto& [name, entry] : other.tensors) {
      if (name.rfind("model.layers.0.", 0) != 0) continue;
      next.tensors[name] = entry;
      const int64_t size = element_count(entry.shape), half = between(random, 0, 1) * size / 2;
      if (half == 0) {
        ASSERT_TRUE(update->borrow(name, other.view(name)));
        continue;
      }
      ASSERT_TRUE(put_run(*update, name, other.view(name), half, size - half));
      ASSERT_TRUE(put_run(*update, name, other.view(name), 0, half));
    }
    const auto report = update->commit();
    ASSERT_TRUE(report) << report.error().message;
    noted = noted && report->in_mirror;
    EXPECT_TRUE(noted || report->source_bytes > kSurelyNoted);
  }
  if (noted) return fleet.committed(next);
  fleet.went_to(next);
  fleet.attach();
}

void abandon(Random& random, Fleet& fleet) {
  const Weights next = changed(random, fleet.current);
  for (const auto& rank : fleet.live) {
    UpdateOptions options;
    options.deltas = true;
    auto update = rank->begin_update(options);
    ASSERT_TRUE(update);
    ASSERT_TRUE(update->put_deltas(deltas_between(fleet.current, next)));
    if (between(random, 0, 1) == 0) continue;
    ASSERT_TRUE(update->prepare());
  }
  fleet.written_since = true;
}

// Where what was written since the last commit leaves it to all ranks.
void roll_back(Fleet& fleet) {
  if (!fleet.previous) return;
  for (const auto& rank : fleet.live) {
    ASSERT_TRUE(rank->can_roll_back() || fleet.written_since);
    if (!rank->can_roll_back()) return;
  }
  for (const auto& rank : fleet.live) ASSERT_TRUE(rank->rollback());
  std::swap(*fleet.previous, fleet.current);
  if (!fleet.mirror_can_go_back) fleet.attach();
  fleet.mirror_can_go_back = false;
}

void catch_up(Fleet& fleet) {
  for (const auto& rank : fleet.live) ASSERT_TRUE(rank->catch_up());
  for (const auto& mirror : fleet.mirrors) fleet.expect_mirrored(*mirror);
  fleet.written_since = true;
}

// Changes and whole tensors in one update.
void mixed(Random& random, Fleet& fleet) {
  Weights next = changed(random, fleet.current);
  const auto deltas = deltas_between(fleet.current, next);
  const Weights other = fleet.model.weights(random);
  const std::string whole = "model.norm.weight", more = "model.embed_tokens.weight";
  for (const auto& rank : fleet.live) {
    UpdateOptions options;
    options.deltas = true;
    auto update = rank->begin_update(options);
    ASSERT_TRUE(update);
    for (const TensorDelta& delta : deltas) {
      if (delta.name == whole || delta.name == more) continue;
      ASSERT_TRUE(update->put_delta(delta));
    }
    for (const std::string& name : {whole, more}) {
      next.tensors[name] = other.tensors.at(name);
      ASSERT_TRUE(update->put(name, other.view(name)));
    }
    const auto report = update->commit();
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->in_mirror);
  }
  fleet.committed(next);
}

void one_step(Random& random, Fleet& fleet) {
  switch (between(random, 0, 11)) {
    case 0:
      dense(random, fleet);
      return fleet.expect_cold("a dense update");
    case 1:
      partial(random, fleet);
      return fleet.expect_cold("a partial update");
    case 2:
      abandon(random, fleet);
      return fleet.expect_cold("an abandoned delta");
    case 3:
      roll_back(fleet);
      return fleet.expect_cold("a rollback");
    case 4:
      catch_up(fleet);
      return fleet.expect_cold("catching up");
    case 5:
      mixed(random, fleet);
      return fleet.expect_cold("a mixed update");
    default:
      fleet.apply(changed(random, fleet.current));
      return fleet.expect_cold("a delta");
  }
}

// Of one fleet; LIVEWEIGHT_TEST_STEPS asks for more.
int64_t steps() {
  return static_cast<int64_t>(environment_number("LIVEWEIGHT_TEST_STEPS", 12));
}

TEST(DeltaUpdate, EqualsAColdLoadWhateverCameBefore) {
  for_each_seed(54, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, 1, between(random, 0, 3) == 0);
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: {} {}", seed,
                             to_string(fleet.options.mode), fleet.model.text()));
    for (int i = 0; i < steps() && !has_failed(); ++i) one_step(random, fleet);
    ASSERT_FALSE(has_failed());
  });
}

TEST(DeltaUpdate, EqualsAColdLoadWithTheModelCutAmongRanks) {
  constexpr int64_t kRanks[] = {2, 4, 8};
  for_each_seed(27, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, one_of(random, kRanks), between(random, 0, 3) == 0);
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: {} ranks, {} {}", seed,
                             fleet.size, to_string(fleet.options.mode), fleet.model.text()));
    for (int i = 0; i < steps() && !has_failed(); ++i) one_step(random, fleet);
    ASSERT_FALSE(has_failed());
  });
}

// Ranks of one host: the first notes a version in the mirror, and may put it in before the others come.
TEST(DeltaUpdate, EqualsAColdLoadWhereRanksShareOneMirrorOnDisk) {
  for_each_seed(27, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, 4, false);
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={}: {}", seed, fleet.model.text()));
    const Checkpoint checkpoint = write_checkpoint(fleet.directory.path(), fleet.current);
    const auto path = fleet.directory.path() / "shared";
    ASSERT_TRUE(Mirror::open(path).value()->replace(checkpoint, same_name, "0"));
    for (const auto& rank : fleet.live) ASSERT_TRUE(rank->attach_mirror(Mirror::open(path).value()));
    for (int step = 1; step <= 5; ++step) {
      const Weights next = changed(random, fleet.current);
      UpdateOptions options;
      options.label = fmt::format("{}", step);
      std::shuffle(fleet.live.begin(), fleet.live.end(), random);
      for (const auto& rank : fleet.live) {
        const auto report = put_changes(*rank, fleet.current, next, options);
        ASSERT_TRUE(report) << report.error().message;
        if (between(random, 0, 1) == 0) continue;
        ASSERT_TRUE(rank->catch_up());
      }
      fleet.current = next;
      std::sort(fleet.live.begin(), fleet.live.end(), [](const auto& a, const auto& b) {
        return a->plan().tensor_parallel().rank < b->plan().tensor_parallel().rank;
      });
      fleet.expect_cold("a shared delta");
      ASSERT_FALSE(has_failed());
    }
  });
}

// Ranks of one process, which commit together: the mirror follows them, forth and back.
TEST(DeltaUpdate, EqualsAColdLoadWhereRanksOfOneProcessShareTheMirrorAndGoBackTogether) {
  for_each_seed(27, [&](Random& random, uint64_t seed) {
    Fleet fleet(random, seed, 2, between(random, 0, 1) == 0);
    SCOPED_TRACE(fmt::format("LIVEWEIGHT_TEST_SEED={}: {}", seed, fleet.model.text()));
    for (const auto& rank : fleet.live) ASSERT_TRUE(rank->attach_mirror(fleet.mirrors[0]));
    for (int step = 1; step <= 6 && !has_failed(); ++step) {
      const Weights next = changed(random, fleet.current);
      const auto deltas = deltas_between(fleet.current, next);
      std::vector<Update> updates;
      for (const auto& rank : fleet.live) {
        UpdateOptions options;
        options.deltas = true;
        options.label = fmt::format("{}", step);
        updates.push_back(rank->begin_update(options).value());
        ASSERT_TRUE(updates.back().put_deltas(deltas));
      }
      const auto reports = commit_together(updates);
      ASSERT_TRUE(reports) << reports.error().message;
      updates.clear();
      const Weights before = std::exchange(fleet.current, next);
      fleet.expect_cold("a delta into all ranks");
      if (between(random, 0, 1) == 0) {
        for (const auto& rank : fleet.live) ASSERT_TRUE(rank->rollback());
        fleet.current = before;
      }
      fleet.expect_cold("a rollback of all ranks");
      ASSERT_TRUE(fleet.mirrors[0]->settle());
      fleet.expect_mirrored(*fleet.mirrors[0]);
    }
  });
}

}  // namespace
}  // namespace liveweight::testing
