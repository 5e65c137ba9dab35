#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "checkpoint/mirror_fixture.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;

TEST_F(MirrorTest, KeepsItsVersionAcrossProcesses) {
  filled();
  const auto [next, deltas] = changed(values_);
  {
    const auto mirror = open();
    EXPECT_EQ(mirror->version(), "0");
    ASSERT_TRUE(mirror->record(deltas, "1", mirror->sequence()));
    EXPECT_TRUE(holds(*mirror, values_));  // noted, not yet put in
  }
  const auto mirror = open();
  EXPECT_EQ(mirror->version(), "1");
  ASSERT_TRUE(mirror->settle());
  EXPECT_TRUE(holds(*mirror, next));
  EXPECT_TRUE(mirror->verify());
  EXPECT_TRUE(holds(*open(), next));
}

TEST_F(MirrorTest, IsAtTheOldOrTheNewVersionWhereverItsLogIsCut) {
  filled();
  const auto [next, deltas] = changed(values_);
  const fs::path log = root_ / "mirror/1/log";
  const auto before = fs::file_size(log);
  ASSERT_TRUE(open()->record(deltas, "1", 1));
  const auto after = fs::file_size(log);
  for (uint64_t length = before; length <= after; length += 1 + random_() % 97) {
    fs::remove_all(root_ / "cut");
    fs::copy(root_ / "mirror", root_ / "cut", fs::copy_options::recursive);
    fs::resize_file(root_ / "cut/1/log", length);
    const auto mirror = open("cut");
    ASSERT_TRUE(mirror->settle());
    EXPECT_EQ(mirror->version(), length == after ? "1" : "0");
    EXPECT_TRUE(holds(*mirror, length == after ? next : values_));
    EXPECT_TRUE(mirror->verify());
  }
}

TEST_F(MirrorTest, RefusesAByteThatItsChecksumDoesNotKnow) {
  filled();
  {
    std::fstream file(root_ / "mirror/1/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file.put('x');
  }
  const Status status = open()->verify();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kDigestMismatch);
  EXPECT_THAT(status.error().message, HasSubstr("tensor a: its part 1"));
}

TEST_F(MirrorTest, IsSharedByProcessesThatNoteTheSameVersion) {
  filled();
  const auto first = open(), second = open();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(first->record(deltas, "1", 1));
  ASSERT_TRUE(first->settle());
  const auto length = fs::file_size(root_ / "mirror/1/log");
  ASSERT_TRUE(second->record(deltas, "1", 1));
  EXPECT_EQ(fs::file_size(root_ / "mirror/1/log"), length) << "it was noted already";
  EXPECT_EQ(second->sequence(), 2u);
  EXPECT_TRUE(holds(*second, next));
  const auto other = second->record(deltas, "2", 1);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kStaleVersion);
}

TEST_F(MirrorTest, TakesItsOwnLastChangeBackAndThatBackAgain) {
  const auto mirror = filled();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(mirror->record(deltas, "1", 1));
  ASSERT_TRUE(mirror->settle());
  const uint64_t sequence = mirror->sequence();
  ASSERT_TRUE(mirror->revert(sequence));
  EXPECT_TRUE(mirror->has_reverted(sequence));
  EXPECT_TRUE(holds(*mirror, values_));
  EXPECT_TRUE(mirror->revert(sequence)) << "another rank asks for the same";
  EXPECT_EQ(mirror->sequence(), sequence + 1);
  EXPECT_TRUE(holds(*mirror, values_));
  EXPECT_EQ(mirror->version(), "0");
  EXPECT_TRUE(holds(*open(), values_));
  EXPECT_TRUE(open()->verify());
  for (const bool forward : {true, false, true}) {
    ASSERT_TRUE(mirror->revert(mirror->sequence()));
    for (const auto& there : {mirror, open()}) {
      EXPECT_EQ(there->version(), forward ? "1" : "0");
      EXPECT_TRUE(holds(*there, forward ? next : values_));
      EXPECT_TRUE(there->verify());
    }
  }
  EXPECT_EQ(mirror->sequence(), sequence + 4);
}

TEST_F(MirrorTest, TakesBackOnlyItsLastChange) {
  const auto mirror = filled();
  const uint64_t first = mirror->sequence();
  auto [next, deltas] = changed(values_);
  ASSERT_TRUE(mirror->record(deltas, "1", first));
  EXPECT_EQ(mirror->revert(first).error().code, ErrorCode::kStaleVersion);
  EXPECT_TRUE(holds(*mirror, next));
  // A version that is called what the one before it was is another all the same.
  ASSERT_TRUE(mirror->record(changed(next).second, "1", first + 1));
  EXPECT_EQ(mirror->revert(first + 1).error().code, ErrorCode::kStaleVersion);
}

TEST_F(MirrorTest, StaysAsItIsWhereTheCheckpointThatItShouldHoldChangedMeanwhile) {
  const auto mirror = filled();
  const Values old = values_;
  const Checkpoint source = checkpoint();
  values_ = changed(values_).first;
  checkpoint();
  const Status replaced = mirror->replace(source, same_name, "1");
  ASSERT_FALSE(replaced);
  EXPECT_THAT(replaced.error().message,
              HasSubstr("model.safetensors: the file changed while it was being read"));
  EXPECT_EQ(mirror->version(), "0");
  EXPECT_TRUE(holds(*open(), old));
}

TEST_F(MirrorTest, LeavesADirectoryThatIsNotItsOwn) {
  fs::create_directories(root_ / "photos");
  std::ofstream(root_ / "photos/cat.jpg") << "cat";
  const auto mirror = Mirror::open(root_ / "photos");
  ASSERT_FALSE(mirror);
  EXPECT_THAT(mirror.error().message, HasSubstr("expected a mirror or an empty directory"));
}

TEST_F(MirrorTest, BeginsItsLogAnewWhenItIsLong) {
  const auto mirror = filled();
  const fs::path log = root_ / "mirror/1/log";
  Values now = values_;
  uint64_t written = fs::file_size(log);
  for (int i = 0; i < 8; ++i) {
    Values next = now;
    for (uint16_t& value : next["a"]) value = static_cast<uint16_t>(random_());
    auto deltas = std::vector{compare_tensors("a", view(now, "a"), view(next, "a")).value()};
    const uint64_t sequence = mirror->sequence();
    ASSERT_TRUE(mirror->record(std::move(deltas), std::to_string(i), sequence));
    ASSERT_TRUE(mirror->settle());
    EXPECT_EQ(mirror->sequence(), sequence + 1);
    now = std::move(next);
    if (i == 0) written = fs::file_size(log) - written;
  }
  EXPECT_GT(written, uint64_t{300'000}) << "one version is kept, not written over at once";
  EXPECT_LT(fs::file_size(log), uint64_t{1} << 20) << "eight are not";
  EXPECT_TRUE(mirror->verify());
  const auto again = open();
  EXPECT_EQ(again->version(), "7");
  EXPECT_EQ(again->sequence(), mirror->sequence());
  EXPECT_TRUE(holds(*again, now));
}

// A process that notes and settles one version after another is killed at random instants.
TEST_F(MirrorTest, HoldsOneWholeVersionAfterItsWriterIsKilled) {
  filled();
  std::vector<Values> versions = {values_};
  std::vector<std::vector<TensorDelta>> deltas;
  for (int i = 0; i < 20; ++i) {
    auto [next, change] = changed(versions.back());
    versions.push_back(std::move(next));
    deltas.push_back(std::move(change));
  }
  const char* rounds = std::getenv("LIVEWEIGHT_TEST_KILLS");
  for (int round = rounds ? std::atoi(rounds) : 40; round > 0; --round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto mirror = Mirror::open(root_ / "mirror");
      if (!mirror) _exit(1);
      for (;;) {
        const int at = std::atoi((*mirror)->version().c_str());
        const size_t next = static_cast<size_t>(at + 1) % versions.size();
        const bool back = next == 0;
        if (back && !(*mirror)->replace(Checkpoint::open(root_ / "checkpoint").value(), same_name, "0"))
          _exit(2);
        if (back) continue;
        if (!(*mirror)->record(deltas[next - 1], std::to_string(next), (*mirror)->sequence())) _exit(3);
        if (!(*mirror)->settle()) _exit(4);
        for (int i = next % 3 == 0 ? 2 : 0; i > 0; --i) {
          if (!(*mirror)->revert((*mirror)->sequence())) _exit(5);
        }
      }
    }
    usleep(static_cast<useconds_t>(random_() % 60'000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended with " << WEXITSTATUS(status);
    const auto mirror = Mirror::open(root_ / "mirror");
    ASSERT_TRUE(mirror) << mirror.error().message;
    ASSERT_TRUE((*mirror)->settle());
    ASSERT_TRUE((*mirror)->verify()) << (*mirror)->verify().error().message;
    ASSERT_TRUE(holds(**mirror, versions[static_cast<size_t>(std::atoi((*mirror)->version().c_str()))]));
  }
}

}  // namespace
}  // namespace liveweight
