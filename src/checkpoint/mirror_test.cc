#include "liveweight/mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

namespace liveweight {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// Two tensors of odd sizes, over several parts.
class MirrorTest : public ::testing::Test {
 protected:
  using Values = std::map<std::string, std::vector<uint16_t>>;

  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "liveweight-mirror-XXXXXX").string();
    ASSERT_TRUE(mkdtemp(name.data()));
    root_ = name;
    for (const auto& [tensor, size] : {std::pair("a", 70'001), std::pair("b", 333)}) {
      values_[tensor].resize(static_cast<size_t>(size));
      for (uint16_t& value : values_[tensor]) value = static_cast<uint16_t>(random_());
    }
  }
  void TearDown() override { fs::remove_all(root_); }

  static TensorView view(const Values& values, const std::string& name) {
    const auto& list = values.at(name);
    return {DType::kBF16,
            {static_cast<int64_t>(list.size())},
            reinterpret_cast<const std::byte*>(list.data()),
            list.size() * 2};
  }

  Checkpoint checkpoint() {
    fs::create_directories(root_ / "checkpoint");
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, list] : values_) tensors.emplace_back(name, view(values_, name));
    EXPECT_TRUE(write_safetensors(root_ / "checkpoint/model.safetensors", tensors));
    return Checkpoint::open(root_ / "checkpoint").value();
  }

  std::shared_ptr<Mirror> open(const char* name = "mirror") { return Mirror::open(root_ / name).value(); }

  std::shared_ptr<Mirror> filled() {
    auto mirror = open();
    EXPECT_TRUE(mirror->replace(checkpoint(), same_name, "0"));
    return mirror;
  }

  // Some elements changed, and how.
  std::pair<Values, std::vector<TensorDelta>> changed(const Values& from) {
    Values next = from;
    std::vector<TensorDelta> deltas;
    for (auto& [name, list] : next) {
      for (int i = 0; i < 200; ++i) list[random_() % list.size()] = static_cast<uint16_t>(random_());
      deltas.push_back(compare_tensors(name, view(from, name), view(next, name)).value());
    }
    return {next, deltas};
  }

  static bool holds(const Mirror& mirror, const Values& values) {
    for (const auto& [name, list] : values) {
      const TensorView there = mirror.find(name);
      if (!there.data || std::memcmp(there.data, list.data(), list.size() * 2) != 0) return false;
    }
    return true;
  }

  fs::path root_;
  std::mt19937_64 random_{5};
  Values values_;
};

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
  ASSERT_TRUE(second->record(deltas, "1", 1));
  EXPECT_EQ(second->sequence(), 2u);
  EXPECT_TRUE(holds(*second, next));
  const auto other = second->record(deltas, "2", 1);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kStaleVersion);
}

TEST_F(MirrorTest, TakesItsOwnLastChangeBackOnce) {
  const auto mirror = filled();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(mirror->record(deltas, "1", 1));
  ASSERT_TRUE(mirror->settle());
  ASSERT_TRUE(mirror->revert(mirror->sequence()));
  EXPECT_TRUE(holds(*mirror, values_));
  EXPECT_EQ(mirror->version(), "0");
  EXPECT_FALSE(mirror->revert(mirror->sequence()));
  EXPECT_TRUE(holds(*open(), values_));
  EXPECT_TRUE(open()->verify());
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

TEST_F(MirrorTest, ReadsWhatAnotherProcessWroteBeforeItLooks) {
  filled();
  const auto first = open(), second = open();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(first->record(deltas, "1", 1));
  {
    const auto hold = second->hold();
    ASSERT_TRUE(hold);
    EXPECT_EQ(second->sequence(), 2u);
    EXPECT_EQ(second->version(), "1");
    EXPECT_TRUE(second->unsettled());
    EXPECT_TRUE(second->has_previous_values());
  }
  ASSERT_TRUE(second->settle());
  EXPECT_FALSE(second->unsettled());
  EXPECT_TRUE(holds(*first, next));
  {
    const auto hold = first->hold();
    ASSERT_TRUE(hold);
    EXPECT_FALSE(first->unsettled());
    EXPECT_FALSE(first->has_previous_values());
  }
  // And a whole checkpoint, which is another generation.
  values_["b"][7] ^= 1;
  ASSERT_TRUE(second->replace(checkpoint(), same_name, "2"));
  ASSERT_TRUE(first->hold());
  EXPECT_EQ(first->version(), "2");
  EXPECT_EQ(first->sequence(), 3u);
  EXPECT_TRUE(holds(*first, values_));
  EXPECT_FALSE(fs::exists(root_ / "mirror/1")) << "the generation before goes away";
}

TEST_F(MirrorTest, InMemoryKeepsTheSameRules) {
  const Checkpoint whole = checkpoint();
  const auto mirror = Mirror::in_memory(whole, same_name).value();
  const auto [next, deltas] = changed(values_);
  const uint64_t sequence = mirror->sequence();
  ASSERT_TRUE(mirror->record(deltas, "1", sequence));
  EXPECT_TRUE(mirror->unsettled());
  ASSERT_TRUE(mirror->settle());
  EXPECT_FALSE(mirror->unsettled());
  EXPECT_TRUE(holds(*mirror, next));
  EXPECT_TRUE(mirror->check_whole());
  EXPECT_TRUE(holds(*Mirror::in_memory(whole, same_name).value(), values_)) << "its file stays what it was";
  ASSERT_TRUE(mirror->record(changed(next).second, "2", sequence + 1));
  ASSERT_TRUE(mirror->replace(whole, same_name, "3"));
  EXPECT_EQ(mirror->sequence(), sequence + 3);
  EXPECT_FALSE(mirror->unsettled());
  EXPECT_TRUE(holds(*mirror, values_));
  EXPECT_EQ(mirror->revert(mirror->sequence()).error().code, ErrorCode::kFailedState);
}

TEST_F(MirrorTest, PutsASecondChangeInAfterTheFirst) {
  const auto on_disk = filled(), in_memory = Mirror::in_memory(checkpoint(), same_name).value();
  const auto [next, first] = changed(values_);
  const auto [last, second] = changed(next);
  for (const auto& mirror : {on_disk, in_memory}) {
    ASSERT_TRUE(mirror->record(first, "1", mirror->sequence()));
    ASSERT_TRUE(mirror->record(second, "2", mirror->sequence()));
    EXPECT_TRUE(holds(*mirror, next));
    ASSERT_TRUE(mirror->settle());
    EXPECT_TRUE(holds(*mirror, last));
    ASSERT_TRUE(mirror->revert(mirror->sequence()));
    EXPECT_TRUE(holds(*mirror, next));
    EXPECT_EQ(mirror->version(), "1");
  }
}

TEST_F(MirrorTest, OfACheckpointThatChangedSinceItWasOpenedIsRefused) {
  const Checkpoint before = checkpoint();
  values_["a"][0] ^= 1;
  checkpoint();
  EXPECT_EQ(Mirror::in_memory(before, same_name).error().code, ErrorCode::kIo);
}

TEST_F(MirrorTest, WhoseFileWasCutOffTakesNothing) {
  const auto mirror = Mirror::in_memory(checkpoint(), same_name).value();
  ASSERT_TRUE(mirror->record(changed(values_).second, "1", mirror->sequence()));
  fs::resize_file(root_ / "checkpoint/model.safetensors", 100);
  EXPECT_EQ(mirror->settle().error().code, ErrorCode::kIo);
  EXPECT_EQ(mirror->check_whole().error().code, ErrorCode::kIo);
}

TEST_F(MirrorTest, RefusesChangesThatDoNotFit) {
  const auto mirror = filled();
  const auto code = [&](TensorDelta delta) {
    return mirror->record({std::move(delta)}, "1", mirror->sequence()).error().code;
  };
  const std::byte value{1};
  EXPECT_EQ(code(make_delta("c", DType::kBF16, {333}, {{0}, {value, value}})), ErrorCode::kUnknownTensor);
  EXPECT_EQ(code(make_delta("b", DType::kF16, {333}, {{0}, {value, value}})), ErrorCode::kWrongDtype);
  EXPECT_EQ(code(make_delta("b", DType::kBF16, {3, 111}, {{0}, {value, value}})), ErrorCode::kWrongShape);
  EXPECT_EQ(mirror->sequence(), 1u);
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
