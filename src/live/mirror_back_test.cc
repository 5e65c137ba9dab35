// A mirror that cannot be taken back at once: it counts as current again only where it has the current
// version's values.
#include <gtest/gtest.h>

#include "base/seam.h"
#include "live/delta_fixture.h"

namespace liveweight::testing {
namespace {

// While it lives, that step fails, but the first few times.
class Failing : public Seam {
 public:
  explicit Failing(Step step, int good = 0) : step_(step), good_(good) { set_seam(this); }
  ~Failing() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step != step_ || good_-- > 0) return {};
    failed_ = true;
    return fail(ErrorCode::kIo, "the test wants this to fail");
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }
  bool failed() const { return failed_; }

 private:
  const Step step_;
  int good_;
  bool failed_ = false;
};

// Nothing can be written to a mirror.
class NoMirrorWrites : public Failing {
 public:
  explicit NoMirrorWrites(int good = 0) : Failing(Step::kMirrorWrite, good) {}
};

// At the version `first_`, or after a delta at `second_`. A delta to `third_` requantizes the row where those
// two differ, so it shows whose values the mirror has.
class MirrorBack : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    start();
  }

  void start() {
    live_ = make_model(model_, first_.catalog(), options_).value();
    ASSERT_TRUE(put_all(*live_, first_));
    mirror_ = Mirror::open(folder_.path() / "mirror").value();
    ASSERT_TRUE(mirror_->replace(write_checkpoint(folder_.path(), first_), same_name, "1"));
    ASSERT_TRUE(live_->attach_mirror(mirror_));
    ASSERT_TRUE(put_changes(*live_, first_, second_));
  }

  std::shared_ptr<Mirror> another(const Weights& weights) {
    auto mirror = Mirror::open(folder_.path() / "another").value();
    EXPECT_TRUE(mirror->replace(write_checkpoint(folder_.path(), weights), same_name, "1"));
    return mirror;
  }

  Weights with(Weights weights, int64_t element, float value) const {
    weights.set("model.layers.0.mlp.up_proj.weight", element, value);
    return weights;
  }

  void expect_at(const Weights& weights) const {
    EXPECT_EQ(digest_of(*live_)->model, cold_digest(model_, weights, options_));
  }

  // Refused for want of a mirror, or right.
  void expect_right_or_refused(const Weights& now, const Weights& next) {
    const auto report = put_changes(*live_, now, next);
    if (!report) {
      EXPECT_EQ(report.error().code, ErrorCode::kFailedState) << report.error().message;
    }
    expect_at(report ? next : now);
  }

  Random random_{3};
  const RandomModel model_{one_layer_llama()};
  const Weights first_ = with(model_.weights(random_), 0, 1.0f);
  const Weights second_ = with(first_, 1, 0.5f), third_ = with(second_, 2, 2.0f);
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::shared_ptr<Mirror> mirror_;
};

TEST_F(MirrorBack, IsTakenBackByTheNextUpdate) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
  }
  const Weights next = with(first_, 2, 2.0f);
  ASSERT_TRUE(put_changes(*live_, first_, next));
  expect_at(next);
  ASSERT_TRUE(mirror_->settle());
  expect_holds(*mirror_, next);
}

TEST_F(MirrorBack, StaysWhereTheModelReturnsToItsVersion) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
  }
  ASSERT_TRUE(live_->rollback());
  expect_at(second_);
  ASSERT_TRUE(put_changes(*live_, second_, third_)) << "its mirror is at its version";
  expect_at(third_);
  ASSERT_TRUE(live_->rollback());
  ASSERT_TRUE(put_changes(*live_, second_, third_));
  expect_at(third_);
}

TEST_F(MirrorBack, GoesAlongWithTheModelThatGoesToAndFro) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
  }
  ASSERT_TRUE(live_->rollback());
  ASSERT_TRUE(live_->rollback());
  expect_at(first_);
  const Weights next = with(first_, 2, 2.0f);
  ASSERT_TRUE(put_changes(*live_, first_, next));
  expect_at(next);
}

TEST_F(MirrorBack, IsNotTakenForThatOfAWholeUpdateThatCameBetween) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
  }
  ASSERT_TRUE(put_all(*live_, second_));
  expect_right_or_refused(second_, third_);
}

TEST_F(MirrorBack, IsNotTakenForThatOfADeltaThatCameWithoutIt) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
    ASSERT_TRUE(put_changes(*live_, first_, second_)) << "small elements need no mirror";
  }
  expect_right_or_refused(second_, third_);
}

TEST_F(MirrorBack, IsForgottenWhereAnotherIsAttached) {
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
  }
  ASSERT_TRUE(live_->attach_mirror(another(first_)));
  const Weights next = with(first_, 2, 2.0f);
  ASSERT_TRUE(put_changes(*live_, first_, next)) << "the new one is at the model's version";
  expect_at(next);
}

TEST_F(MirrorBack, IsNotTakenForAnotherThatWasAttachedSince) {
  ASSERT_TRUE(live_->attach_mirror(another(second_)));
  ASSERT_TRUE(live_->rollback());
  expect_right_or_refused(first_, with(first_, 2, 2.0f));
}

TEST_F(MirrorBack, IsNotAnotherWhoseLastChangeWasNotTheModels) {
  const Weights others = with(second_, 1, 0.75f);
  mirror_ = another(others);
  ASSERT_TRUE(mirror_->record(deltas_between(others, second_), "2", mirror_->sequence()));
  ASSERT_TRUE(mirror_->settle());
  ASSERT_TRUE(live_->attach_mirror(mirror_));
  ASSERT_TRUE(live_->rollback());
  expect_holds(*mirror_, second_);
  expect_right_or_refused(first_, with(first_, 2, 2.0f));
}

// Nothing of going back was written, or it was noted but not put in, or all of it was.
TEST_F(MirrorBack, GoesAlongToAndFroWhereverItsDiskWasFull) {
  bool failed = true;
  for (int written = 0; failed; ++written) {
    SCOPED_TRACE(written);
    start();
    {
      const NoMirrorWrites full(written);
      ASSERT_TRUE(live_->rollback());
      failed = full.failed();
    }
    ASSERT_TRUE(live_->rollback());
    ASSERT_TRUE(live_->rollback());
    const Weights next = with(first_, 2, 2.0f);
    const auto report = put_changes(*live_, first_, next);
    ASSERT_TRUE(report) << report.error().message;
    expect_at(next);
  }
}

TEST_F(MirrorBack, IsNotTakenForThatOfAnotherUpdateOfTheSameLabel) {
  UpdateOptions options;
  options.label = "the same";
  ASSERT_TRUE(live_->rollback());
  ASSERT_TRUE(put_changes(*live_, first_, second_, options));
  const Weights other = with(first_, 3, 0.25f);
  {
    const NoMirrorWrites full;
    ASSERT_TRUE(live_->rollback());
    ASSERT_TRUE(put_changes(*live_, first_, other, options)) << "small elements need no mirror";
  }
  expect_right_or_refused(other, with(other, 2, 2.0f));
}

TEST_F(MirrorBack, IsAtTheCurrentVersionAfterEachRollback) {
  Weights now = second_, other = first_;
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(live_->rollback());
    std::swap(now, other);
    ASSERT_TRUE(i % 2 || live_->catch_up());
    ASSERT_TRUE(mirror_->settle());
    expect_holds(*Mirror::open(folder_.path() / "mirror").value(), now);
  }
  other = std::exchange(now, third_);
  ASSERT_TRUE(put_changes(*live_, other, now));
  expect_at(now);
  ASSERT_TRUE(live_->rollback() && live_->rollback());
  const Weights next = with(now, 3, 3.0f);
  ASSERT_TRUE(put_changes(*live_, now, next));
  expect_at(next);
}

TEST_F(MirrorBack, IsNotTakenToAnUpdateThatFailed) {
  for (const int rollbacks : {0, 1, 2}) {
    SCOPED_TRACE(rollbacks);
    start();
    for (int i = 0; i < rollbacks; ++i) ASSERT_TRUE(live_->rollback());
    const Weights &now = rollbacks == 1 ? first_ : second_, &other = rollbacks == 1 ? second_ : first_;
    {
      const Failing last(Step::kFlip);
      ASSERT_FALSE(put_changes(*live_, now, with(now, 2, 4.0f)));
    }
    ASSERT_TRUE(live_->rollback());
    expect_right_or_refused(other, with(other, 2, 2.0f));
  }
}

TEST_F(MirrorBack, ComesBackFromAnUpdateThatFailedAtItsLastStep) {
  {
    const Failing last(Step::kFlip);
    ASSERT_FALSE(put_changes(*live_, second_, third_));
  }
  const Weights next = with(second_, 3, 3.0f);
  const auto report = put_changes(*live_, second_, next);
  ASSERT_TRUE(report) << report.error().message;
  expect_at(next);
}

// Anything that moves the model, its mirror or both, some of it while the mirror's disk is full.
class Wanderer {
 public:
  Wanderer(Random& random, uint64_t seed) : random_(random), model_(random), now_(model_.weights(random)) {
    static const std::vector<Scheme> schemes = all_schemes();
    options_.quantization = QuantizationConfig::uniform(schemes[seed % schemes.size()]);
    if (between(random, 0, 1)) options_.mode = CommitMode::kCopy;
    live_ = make_model(model_, now_.catalog(), options_).value();
    EXPECT_TRUE(put_all(*live_, now_));
    attach();
  }

  void step() {
    const std::unique_ptr<Seam> full = between(random_, 0, 2) ? nullptr : std::make_unique<NoMirrorWrites>();
    switch (between(random_, 0, 8)) {
      case 0:
        return committed(model_.weights(random_), [&](const Weights& next) { return put_all(*live_, next); });
      case 1:
        if (!full) attach();
        return;
      case 2:
        EXPECT_TRUE(live_->catch_up() || full);
        return;
      case 3:
      case 4:
        if (live_->rollback()) std::swap(before_, now_);
        return;
      case 5:
        if (!full) give_up_at_the_last_step();
        return;
      default:
        return committed(changed(random_, now_),
                         [&](const Weights& next) { return put_changes(*live_, now_, next); });
    }
  }

  void expect_cold() const { ASSERT_EQ(digest_of(*live_)->model, cold_digest(model_, now_, options_)); }
  std::string describe() const { return fmt::format("{}, {}", to_string(options_.mode), model_.text()); }

 private:
  void attach() {
    mirrors_.push_back(Mirror::open(folder_.path() / fmt::format("mirror{}", mirrors_.size())).value());
    const Checkpoint checkpoint = write_checkpoint(folder_.path() / "now", now_);
    ASSERT_TRUE(mirrors_.back()->replace(checkpoint, same_name, ""));
    ASSERT_TRUE(live_->attach_mirror(mirrors_.back()));
  }

  void give_up_at_the_last_step() {
    const Failing last(Step::kFlip);
    EXPECT_FALSE(put_changes(*live_, now_, changed(random_, now_)));
  }

  void committed(Weights next, const std::function<Result<UpdateReport>(const Weights&)>& update) {
    if (update(next)) before_ = std::exchange(now_, std::move(next));
  }

  Random& random_;
  const RandomModel model_;
  Weights now_, before_;
  PlanOptions options_;
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  std::unique_ptr<LiveModel> live_;
  std::vector<std::shared_ptr<Mirror>> mirrors_;
};

TEST(MirrorsThatFail, LeaveDeltasRightOrRefusedWhateverCameBefore) {
  for_each_seed(20, [&](Random& random, uint64_t seed) {
    Wanderer wanderer(random, seed);
    SCOPED_TRACE(
        fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: {}", seed, wanderer.describe()));
    for (int i = 0; i < 14 && !has_failed(); ++i) {
      wanderer.step();
      wanderer.expect_cold();
    }
  });
}

}  // namespace
}  // namespace liveweight::testing
