// What a mirror makes of files that were damaged, cut off, or changed in part.
#include <gtest/gtest.h>

#include <fstream>

#include "checkpoint/mirror_fixture.h"
#include "checkpoint/mirror_log.h"

namespace liveweight {
namespace {

TEST_F(MirrorTest, WhoseFileWasCutOffTakesNothing) {
  const auto on_disk = filled(), in_memory = Mirror::in_memory(checkpoint(), same_name).value();
  for (const auto& [mirror, file] :
       {std::pair(in_memory, "checkpoint/model.safetensors"), {on_disk, "mirror/1/model.safetensors"}}) {
    ASSERT_TRUE(mirror->record(changed(values_).second, "1", mirror->sequence()));
    fs::resize_file(root_ / file, 100);
    EXPECT_EQ(mirror->settle().error().code, ErrorCode::kIo);
    EXPECT_EQ(mirror->check_whole().error().code, ErrorCode::kIo);
    EXPECT_TRUE(mirror->unsettled());
  }
}

TEST_F(MirrorTest, WhoseFilesAreNotItsOwnIsRefused) {
  const auto code = [&](const char* file, const auto& damage) {
    fs::remove_all(root_ / "mirror");
    filled();
    damage(root_ / "mirror" / file);
    const auto mirror = Mirror::open(root_ / "mirror");
    return mirror ? ErrorCode::kInternal : mirror.error().code;
  };
  const std::byte value{1};
  const auto note = [&](TensorDelta delta) {
    return [delta](const fs::path& log) {
      ASSERT_TRUE(append_change(log, fs::file_size(log), {2, "1", {delta}, {}, false, ""}));
    };
  };
  EXPECT_EQ(code("CURRENT", [](const fs::path& file) { std::ofstream(file) << "one\n"; }),
            ErrorCode::kBadCheckpoint);
  EXPECT_EQ(code("1/sums", [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 8); }),
            ErrorCode::kBadCheckpoint);
  EXPECT_EQ(code("1/log", note(make_delta("c", {}, {}, {{0}, {value, value}}))), ErrorCode::kBadCheckpoint);
  EXPECT_EQ(code("1/log", note(make_delta("b", {}, {}, {{0}, {value}}))), ErrorCode::kBadCheckpoint);
  EXPECT_EQ(code("1/log", note(make_delta("b", {}, {}, {{333}, {value, value}}))), ErrorCode::kBadCheckpoint);
  EXPECT_EQ(code("1/log", note(make_delta("b", {}, {}, {{332}, {value, value}}))), ErrorCode::kInternal);
}

TEST_F(MirrorTest, WhoseBytesAreNotWhatItsLogSaysIsRefused) {
  const auto mirror = filled();
  ASSERT_TRUE(mirror->record(changed(values_).second, "1", 1));
  ASSERT_TRUE(mirror->settle());
  {
    std::fstream file(root_ / "mirror/1/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(100'000);
    const int byte = file.get();
    file.seekp(100'000);
    file.put(static_cast<char>(byte ^ 1));
  }
  EXPECT_EQ(Mirror::open(root_ / "mirror").error().code, ErrorCode::kDigestMismatch);
}

TEST_F(MirrorTest, ChangedInPartIsRepeatedByWhoeverOpensIt) {
  const auto mirror = filled(), other = open();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(mirror->record(deltas, "1", 1));
  {
    const At second_tensor(Step::kMirrorWrite, 2);  // the sums' record, the first tensor, the second
    EXPECT_FALSE(mirror->settle());
  }
  EXPECT_TRUE(mirror->unsettled());
  EXPECT_FALSE(mirror->has_previous_values()) << "some of them are written over";
  EXPECT_FALSE(holds(*mirror, next));
  {
    const auto again = open();
    EXPECT_TRUE(holds(*again, next));
    EXPECT_TRUE(again->verify());
    EXPECT_FALSE(again->unsettled());
  }
  ASSERT_TRUE(other->hold());
  EXPECT_FALSE(other->unsettled()) << "what was repeated is noted";
}

TEST_F(MirrorTest, ChangedInPartStillGoesBackToWhatItWas) {
  const auto mirror = Mirror::in_memory(checkpoint(), same_name).value();
  ASSERT_TRUE(mirror->record(changed(values_).second, "1", 1));
  {
    const At second_tensor(Step::kMirrorWrite, 1);
    EXPECT_FALSE(mirror->settle());
  }
  ASSERT_TRUE(mirror->settle());
  ASSERT_TRUE(mirror->revert(2));
  EXPECT_TRUE(holds(*mirror, values_));
}

TEST_F(MirrorTest, OfARecordThatCouldNotBeSyncedKeepsNothing) {
  const auto mirror = filled();
  ASSERT_TRUE(mirror->record({}, "1", 1) && mirror->settle());
  const fs::path log = root_ / "mirror/1/log";
  const auto length = fs::file_size(log);
  {
    const At sync(Step::kSync, 0);
    EXPECT_FALSE(mirror->record(changed(values_).second, "2", 2));
  }
  EXPECT_EQ(fs::file_size(log), length);
}

// Else a crash could leave two records damaged, or bytes of a change that the log does not have.
TEST_F(MirrorTest, BringsALogThatAnotherProcessWroteToDiskBeforeItGoesOn) {
  const auto mirror = filled(), other = open();
  const auto [next, deltas] = changed(values_);
  ASSERT_TRUE(mirror->record(deltas, "1", 1));
  {
    const At sync(Step::kSync, 0);
    EXPECT_FALSE(other->settle());
  }
  {
    const At syncs(Step::kSync, -1);
    ASSERT_TRUE(other->settle());
    EXPECT_EQ(syncs.count(), 3) << "the log, its sums, and that it is settled";
  }
  const auto [last, more] = changed(next);
  ASSERT_TRUE(other->record(more, "2", 2));
  {
    const At first_tensor(Step::kMirrorWrite, 1);
    EXPECT_FALSE(other->settle());
  }
  {
    const At sync(Step::kSync, 0);
    EXPECT_FALSE(Mirror::open(root_ / "mirror"));
  }
  EXPECT_TRUE(holds(*other, next));
  EXPECT_TRUE(holds(*open(), last));
}

TEST_F(MirrorTest, IsOnDiskBeforeItsLogBeginsAnew) {
  const auto mirror = filled();
  Values now = values_;
  for (int i = 0; i < 3; ++i) {
    Values next = now;
    for (uint16_t& value : next["a"]) value = static_cast<uint16_t>(value + 1);
    auto deltas = std::vector{compare_tensors("a", view(now, "a"), view(next, "a")).value()};
    ASSERT_TRUE(mirror->record(std::move(deltas), std::to_string(i), mirror->sequence()));
    now = std::move(next);
    const At syncs(Step::kSync, -1);
    ASSERT_TRUE(mirror->settle());
    EXPECT_EQ(syncs.count(), i < 2 ? 2 : 5)
        << "its sums, and that it is settled; then its bytes, the bytes of its sums, the new log";
  }
  EXPECT_LT(fs::file_size(root_ / "mirror/1/log"), 1000u);
}

}  // namespace
}  // namespace liveweight
