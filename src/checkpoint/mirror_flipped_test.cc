// Damage that no crash leaves: bytes of a mirror's files that were changed or cut off. Whatever is damaged,
// it is refused as that, or it is at a whole version under that one's label.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "checkpoint/mirror_fixture.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;

class DamagedMirror : public MirrorTest {
 protected:
  using Damage = std::function<void(const fs::path&)>;

  void SetUp() override {
    MirrorTest::SetUp();
    versions_ = {values_};
    const auto mirror = filled();
    lengths_ = {length()};
    for (int i = 1; i <= 3; ++i) {
      auto [next, deltas] = changed(versions_.back());
      versions_.push_back(std::move(next));
      ASSERT_TRUE(mirror->record(std::move(deltas), std::to_string(i), mirror->sequence()));
      ASSERT_TRUE(mirror->settle());
      lengths_.push_back(length());
    }
    fs::copy(root_ / "mirror", root_ / "whole", fs::copy_options::recursive);
  }

  uint64_t length() const { return fs::file_size(root_ / "mirror/1/log"); }

  // Opened after that damage to a file; null where it is refused as damaged.
  std::shared_ptr<Mirror> open_damaged(const char* file, const Damage& damage) const {
    fs::remove_all(root_ / "mirror");
    fs::copy(root_ / "whole", root_ / "mirror", fs::copy_options::recursive);
    damage(root_ / "mirror/1" / file);
    auto mirror = Mirror::open(root_ / "mirror");
    if (mirror) return *std::move(mirror);
    EXPECT_THAT(mirror.error().message, HasSubstr(file));
    EXPECT_THAT(mirror.error().message, HasSubstr("the mirror is damaged"));
    EXPECT_THAT(mirror.error().message, HasSubstr(fmt::format("; remove {}, ", (root_ / "mirror").string())));
    return nullptr;
  }

  static Damage flip(uint64_t at) {
    return [at](const fs::path& path) {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(at));
      const auto byte = static_cast<char>(file.get() ^ 1);
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte);
    };
  }

  static Damage cut(uint64_t at) {
    return [at](const fs::path& path) { fs::resize_file(path, at); };
  }

  void expect_at_last(const Mirror& mirror) const {
    EXPECT_EQ(mirror.version(), "3");
    EXPECT_TRUE(holds(mirror, versions_.back()));
    EXPECT_TRUE(mirror.verify());
  }

  std::vector<Values> versions_;
  std::vector<uint64_t> lengths_;  // of the log at each of them
};

TEST_F(DamagedMirror, IsRefusedWhereAnyByteOfItsLogIsChangedButTheLastRecord) {
  for (uint64_t at = 0; at < lengths_.back(); at += 1 + random_() % 61) {
    const auto mirror = open_damaged("log", flip(at));
    EXPECT_TRUE(!mirror || at >= lengths_[2]) << at;
    if (mirror) expect_at_last(*mirror);
  }
}

TEST_F(DamagedMirror, IsRefusedWhereItsLogIsCutBeforeWhatIsInItsBytes) {
  for (uint64_t at = 0; at < lengths_.back(); at += 1 + random_() % 61) {
    const auto mirror = open_damaged("log", cut(at));
    EXPECT_TRUE(!mirror || at >= lengths_[2]) << at;
    if (mirror) expect_at_last(*mirror);
  }
  for (const uint64_t whole : {lengths_[0], lengths_[1], lengths_[2]}) {
    EXPECT_FALSE(open_damaged("log", cut(whole))) << whole;
  }
}

TEST_F(DamagedMirror, IsRefusedWhereItsChecksumsAreCutOffOrOfAStateThatItsLogDoesNotKnow) {
  EXPECT_FALSE(open_damaged("sums", cut(0)));
  EXPECT_FALSE(open_damaged("sums", cut(8)));
  EXPECT_FALSE(open_damaged("sums", flip(1)));
  EXPECT_FALSE(open_damaged("sums", [](const fs::path& path) {
    std::ofstream(path, std::ios::in | std::ios::out).write("\0\0\0\0\0\0\0\0", 8);
  }));
}

TEST_F(DamagedMirror, IsNotLoadedWhereAByteIsChangedThatItsLogDoesNotSpeakOf) {
  const auto mirror = filled();  // its log begins here
  const auto path = root_ / "mirror/2/model.safetensors";
  flip(fs::file_size(path) - 1)(path);
  EXPECT_EQ(open()->checkpoint().error().code, ErrorCode::kDigestMismatch);
}

}  // namespace
}  // namespace liveweight
