// Who may change a mirror, when, and who sees it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "checkpoint/mirror_fixture.h"

namespace liveweight {
namespace {

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
  ASSERT_TRUE(mirror->record(deltas, "4", mirror->sequence()) && mirror->settle());
  ASSERT_TRUE(mirror->replace(whole, same_name, "5"));
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

TEST_F(MirrorTest, HoldsOnlyWhatTheIndexOfItsCheckpointNames) {
  checkpoint();
  std::ofstream(root_ / "checkpoint/model.safetensors.index.json")
      << R"({"weight_map": {"b": "model.safetensors"}})";
  const auto mirror = Mirror::in_memory(Checkpoint::open(root_ / "checkpoint").value(), same_name).value();
  ASSERT_EQ(mirror->tensors().size(), 1u);
  EXPECT_EQ(mirror->tensors()[0].name, "b");
}

TEST_F(MirrorTest, TellsTheCheckpointThatItWasMadeOfFromAnother) {
  filled();
  const Checkpoint whole = checkpoint();
  Values now = values_;
  for (int version = 1; version <= 3; ++version) {
    const auto mirror = open();
    auto [next, deltas] = changed(now);
    ASSERT_TRUE(mirror->record(deltas, std::to_string(version), mirror->sequence()) && mirror->settle());
    EXPECT_EQ(mirror->origin(), "0");
    EXPECT_TRUE(mirror->check_origin(whole, same_name));
    now = std::move(next);
  }
  values_["a"][40'000] ^= 1;
  const Status other = open()->check_origin(checkpoint(), same_name);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kStaleVersion);
  EXPECT_NE(other.error().message.find("made of another version 0 than"), std::string::npos);
  EXPECT_EQ(other.error().names, std::vector<std::string>{(root_ / "mirror").string()});
  ASSERT_TRUE(open()->replace(checkpoint(), same_name, "4"));
  EXPECT_EQ(open()->origin(), "4");
  EXPECT_TRUE(open()->check_origin(checkpoint(), same_name));
  EXPECT_TRUE(Mirror::in_memory(checkpoint(), same_name).value()->check_origin(checkpoint(), same_name));
}

TEST_F(MirrorTest, KnowsWhatItWasMadeOfWhenItsLogIsBegunAnew) {
  const auto mirror = filled();
  const Values before = values_;
  uint64_t length = 0, longest = 0;
  while (length == longest) {
    Values next = values_;
    for (uint16_t& value : next["a"]) ++value;
    std::vector<TensorDelta> deltas;
    deltas.push_back(compare_tensors("a", view(values_, "a"), view(next, "a")).value());
    ASSERT_TRUE(mirror->record(std::move(deltas), "1", mirror->sequence()) && mirror->settle());
    values_ = std::move(next);
    length = fs::file_size(root_ / "mirror/1/log");
    longest = std::max(longest, length);
  }
  values_ = before;
  EXPECT_EQ(open()->origin(), "0");
  EXPECT_TRUE(open()->check_origin(checkpoint(), same_name));
}

TEST_F(MirrorTest, DoesNotTakeBackWhatAnotherProcessChanged) {
  const auto first = filled(), second = open();
  const auto [next, deltas] = changed(values_);
  const auto [last, more] = changed(next);
  ASSERT_TRUE(first->record(deltas, "1", 1) && first->settle());
  ASSERT_TRUE(second->record(more, "2", 2) && second->settle());
  EXPECT_EQ(first->revert(3).error().code, ErrorCode::kFailedState);
  EXPECT_TRUE(holds(*first, last));
}

TEST_F(MirrorTest, TellsOtherProcessesWhatWasTakenBack) {
  const auto first = filled(), second = open();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(first->record(deltas, "1", 1) && first->settle());
  ASSERT_TRUE(second->record(deltas, "1", 1)) << "another rank of it";
  ASSERT_TRUE(first->revert(2));
  ASSERT_TRUE(second->revert(2));
  for (const auto& mirror : {first, second, open()}) {
    EXPECT_TRUE(mirror->has_reverted(2));
    EXPECT_EQ(mirror->sequence(), 3u);
    EXPECT_EQ(mirror->version(), "0");
    EXPECT_TRUE(holds(*mirror, values_));
    EXPECT_TRUE(mirror->verify());
  }
  ASSERT_TRUE(second->record(deltas, "0", 3)) << "a change, though it has the label that is there";
  EXPECT_EQ(second->sequence(), 4u);
  ASSERT_TRUE(first->settle());
  EXPECT_TRUE(first->has_reverted(2)) << "one that comes late has to know, too";
  EXPECT_FALSE(first->has_reverted(3) || first->has_reverted(1));
  EXPECT_TRUE(holds(*first, next));
}

TEST_F(MirrorTest, IsReadByManyAndWrittenByOne) {
  const auto mirror = filled();
  const auto can_lock = [&](int how) {
    const int file = ::open((root_ / "mirror/lock").c_str(), O_RDWR | O_CLOEXEC);
    const bool can = flock(file, how | LOCK_NB) == 0;
    close(file);
    return can;
  };
  {
    const auto hold = mirror->hold();
    EXPECT_TRUE(can_lock(LOCK_SH));
    EXPECT_FALSE(can_lock(LOCK_EX));
  }
  EXPECT_TRUE(can_lock(LOCK_EX));
  const At write(Step::kMirrorWrite, -1, [&] { EXPECT_FALSE(can_lock(LOCK_SH)); });
  ASSERT_TRUE(mirror->record(changed(values_).second, "1", 1));
  EXPECT_GT(write.count(), 0);
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

}  // namespace
}  // namespace liveweight
