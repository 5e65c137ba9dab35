// For tests: the ranks of a model, their mirrors, and the weights that they should have.
#pragma once

#include <gtest/gtest.h>

#include "live/delivery.h"
#include "live/delta_fixture.h"

namespace liveweight::testing {

// One or more ranks of a model, and the weights that they should have.
struct Fleet {
  Fleet(Random& random, uint64_t seed, int64_t ranks, bool mirrors_on_disk)
      : model(random, 8), size(ranks), on_disk(mirrors_on_disk), current(model.weights(random)) {
    static constexpr CommitMode kModes[] = {CommitMode::kFlip, CommitMode::kCopy};
    static const std::vector<Scheme> schemes = all_schemes();
    options.quantization = QuantizationConfig::uniform(schemes[seed % schemes.size()]);
    options.mode = one_of(random, kModes);
    options.tensor_parallel.size = ranks;
    for (int64_t& rank = options.tensor_parallel.rank; rank < ranks; ++rank) {
      live.push_back(make_model(model, current.catalog(), options).value());
    }
    options.tensor_parallel = {};
    for (const auto& rank : live) EXPECT_TRUE(put_all(*rank, current));
    attach();
  }

  // The mirror of the current weights, one for each rank.
  void attach() {
    const Checkpoint checkpoint = write_checkpoint(directory.path(), current);
    for (size_t rank = 0; rank < live.size(); ++rank) {
      if (rank < mirrors.size()) {
        ASSERT_TRUE(mirrors[rank]->replace(checkpoint, same_name, ""));
      } else if (on_disk) {
        mirrors.push_back(Mirror::open(directory.path() / fmt::format("mirror{}", rank)).value());
        ASSERT_TRUE(mirrors[rank]->replace(checkpoint, same_name, ""));
      } else {
        mirrors.push_back(Mirror::in_memory(checkpoint, same_name).value());
      }
      ASSERT_TRUE(live[rank]->attach_mirror(mirrors[rank]));
    }
    mirror_can_go_back = false;
  }

  // All ranks on the first one's.
  void share_mirror() {
    for (size_t rank = 1; rank < live.size(); ++rank) {
      mirrors[rank] = mirrors[0];
      ASSERT_TRUE(live[rank]->attach_mirror(mirrors[0]));
    }
  }

  void expect_cold(const std::string& what) const {
    const Digest cold = cold_digest(model, current, options);
    if (size == 1) {
      ASSERT_EQ(digest_of(*live[0])->model, cold) << what;
    } else {
      const auto whole = Plan::compile(model.description(), current.catalog(), options).value();
      ASSERT_EQ(digest_of_ranks(*whole, live)->model, cold) << what;
    }
  }

  void apply(const Weights& next) {
    for (const auto& rank : live) {
      const auto report = put_changes(*rank, current, next);
      ASSERT_TRUE(report) << report.error().message;
    }
    committed(next);
  }

  // By an update that the mirrors followed.
  void committed(const Weights& next) {
    went_to(next);
    mirror_can_go_back = true;
    for (const auto& mirror : mirrors) expect_mirrored(*mirror);
  }

  void went_to(const Weights& next) {
    previous = std::exchange(current, next);
    written_since = false;
  }

  void expect_mirrored(Mirror& mirror) const {
    if (mirror.unsettled()) return;
    ASSERT_TRUE(mirror.verify());
    expect_holds(mirror, current);
  }

  RandomModel model;
  int64_t size;
  bool on_disk;
  PlanOptions options;
  std::vector<std::unique_ptr<LiveModel>> live;
  Weights current;
  std::optional<Weights> previous;  // what a rollback would bring back
  bool written_since = false;       // into the next slots, which may end that
  bool mirror_can_go_back = false;
  TemporaryFolder directory = TemporaryFolder::make("liveweight-test").value();
  std::vector<std::shared_ptr<Mirror>> mirrors;
};

}  // namespace liveweight::testing
