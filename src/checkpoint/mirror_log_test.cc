// A last record that does not fit what came before it was never there; one that others follow is damage.
#include "checkpoint/mirror_log.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/hash.h"
#include "base/temporary_folder.h"

namespace liveweight {
namespace {

MirrorChange change(uint64_t sequence) {
  const std::byte value{7};
  MirrorChange change{sequence, "v", {}, {{3, 9}}, true, "boot"};
  change.deltas.push_back(make_delta("a", DType::kU8, {4}, {{1}, {value}}));
  return change;
}

class MirrorLogTest : public ::testing::Test {
 protected:
  void SetUp() override { bytes_ = begin_mirror_log(path_, 5, "base", {"4", 77}).value(); }

  using Append = decltype(append_change);
  void add(Append* append, uint64_t sequence) { bytes_ = append(path_, bytes_, change(sequence)).value(); }
  MirrorLogContent read() const { return read_mirror_log(path_).value(); }
  ErrorCode refusal() const { return read_mirror_log(path_).error().code; }
  void flip(uint64_t at) const {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path path_ = folder_.path() / "log";
  uint64_t bytes_ = 0;
};

TEST_F(MirrorLogTest, ComesBackAsItWasWritten) {
  add(append_change, 6);
  add(append_sums, 6);
  add(append_settled, 6);
  const MirrorLogContent log = read();
  EXPECT_EQ(log.sequence, 5u);
  EXPECT_EQ(log.version, "base");
  EXPECT_EQ(log.origin.version, "4");
  EXPECT_EQ(log.origin.sample, 77u);
  EXPECT_EQ(log.bytes, bytes_);
  ASSERT_EQ(log.changes.size(), 1u);
  EXPECT_EQ(log.changes[0].version, "v");
  EXPECT_EQ(log.changes[0].deltas[0].positions[0], 1u);
  EXPECT_EQ(log.changes[0].deltas[0].values[0], std::byte{7});
  EXPECT_TRUE(log.changes[0].has_sums);
  EXPECT_EQ(log.changes[0].sums, (std::vector<std::pair<uint64_t, uint64_t>>{{3, 9}}));
  EXPECT_EQ(log.changes[0].settled_in, "boot");
}

TEST_F(MirrorLogTest, EndsBeforeAChangeThatItTookThePlaceOf) {
  add(append_change, 5);
  EXPECT_TRUE(read().changes.empty());
}

TEST_F(MirrorLogTest, IsDamagedWhereAChangeIsMissing) {
  add(append_change, 7);
  EXPECT_EQ(refusal(), ErrorCode::kBadCheckpoint);
}

TEST_F(MirrorLogTest, EndsBeforeSumsThatAreNotOfTheLastChange) {
  add(append_change, 6);
  const uint64_t whole = bytes_;
  for (Append* append : {append_sums, append_settled}) {
    bytes_ = whole;
    add(append, 5);
    EXPECT_EQ(read().bytes, whole);
    bytes_ = whole;
    add(append, 7);
    EXPECT_EQ(refusal(), ErrorCode::kBadCheckpoint);
  }
}

TEST_F(MirrorLogTest, EndsBeforeSumsOfNoChange) {
  const uint64_t whole = bytes_;
  add(append_sums, 5);
  EXPECT_EQ(read().bytes, whole);
}

TEST_F(MirrorLogTest, EndsBeforeARecordWithAnyByteChanged) {
  const uint64_t whole = bytes_;
  add(append_change, 6);
  for (uint64_t at = whole; at < bytes_; ++at) {
    flip(at);
    EXPECT_EQ(read().bytes, whole) << at;
    flip(at);
  }
  EXPECT_EQ(read().bytes, bytes_);
}

TEST_F(MirrorLogTest, IsDamagedWhereALaterRecordFollowsOneWithAnyByteChanged) {
  const uint64_t first = bytes_;
  for (Append* append : {append_change, append_sums, append_settled}) add(append, 6);
  const uint64_t last = bytes_;
  add(append_change, 7);
  for (uint64_t at = 0; at < last; ++at) {
    flip(at);
    EXPECT_EQ(refusal(), ErrorCode::kBadCheckpoint) << at << " of " << first << " and " << last;
    flip(at);
  }
  EXPECT_EQ(read().bytes, bytes_);
}

TEST_F(MirrorLogTest, OfAnEarlierLiveweightIsRefusedAsThat) {
  for (const std::string type : {"MIRRORGB", "MIRRORG2"}) {
    const std::string payload(16, '\0');  // the state 0 of no version
    int64_t number = 0;
    std::memcpy(&number, type.data(), sizeof number);
    Hasher hasher;
    hasher.add_numbers({number, 16});
    hasher.add(std::as_bytes(std::span(payload)));
    const auto checksum = hasher.finish();
    std::ofstream log(path_, std::ios::binary);
    log << type << '\x10' << std::string(7, '\0');
    log.write(reinterpret_cast<const char*>(checksum.data()), checksum.size());
    log << payload << std::flush;
    EXPECT_EQ(refusal(), ErrorCode::kUnsupported) << type;
  }
}

TEST_F(MirrorLogTest, BeginsWithItsBeginAndHasNoOther) {
  const std::filesystem::path other = folder_.path() / "other";
  const uint64_t begin = begin_mirror_log(other, 5, "again", {}).value();
  std::string record(begin, '\0');
  std::ifstream(other, std::ios::binary).read(record.data(), static_cast<std::streamsize>(begin));
  std::ofstream(path_, std::ios::binary | std::ios::app) << record;
  EXPECT_EQ(read().bytes, bytes_);
  EXPECT_EQ(read().version, "base");

  std::ofstream(other, std::ios::binary | std::ios::trunc).close();
  ASSERT_TRUE(append_change(other, 0, change(1)));
  EXPECT_EQ(read_mirror_log(other).error().code, ErrorCode::kBadCheckpoint);
}

TEST_F(MirrorLogTest, LosesWhatWasAfterTheByteWhereItIsAppended) {
  const uint64_t begin = bytes_;
  add(append_change, 6);
  add(append_sums, 6);
  bytes_ = append_change(path_, begin, change(6)).value();
  EXPECT_EQ(std::filesystem::file_size(path_), bytes_);
  EXPECT_FALSE(read().changes[0].has_sums);
}

TEST_F(MirrorLogTest, HasAnIdentityThatAnotherFileAndAnotherLengthHaveNot) {
  const uint64_t identity = identity_of_log(path_, bytes_);
  EXPECT_NE(identity, 0u);
  EXPECT_EQ(identity_of_log(path_, bytes_), identity);
  EXPECT_EQ(identity_of_log(path_, bytes_ + 1), 0u);
  std::filesystem::copy_file(path_, folder_.path() / "copy");
  EXPECT_NE(identity_of_log(folder_.path() / "copy", bytes_), identity);
}

}  // namespace
}  // namespace liveweight
