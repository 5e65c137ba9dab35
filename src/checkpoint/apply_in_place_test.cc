// A checkpoint that is patched where it lies: what changes, and what stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "base/seam.h"
#include "base/threads.h"
#include "checkpoint/delta_apply_fixture.h"
#include "checkpoint/directory_lock.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;

struct stat facts_of(const fs::path& path) {
  struct stat facts {};
  EXPECT_EQ(lstat(path.c_str(), &facts), 0) << path;
  return facts;
}

void put(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

// Something is mounted on a directory, in this process's view alone.
class Mounted {
 public:
  explicit Mounted(fs::path at) : at_(std::move(at)) {
    done_ = unshare(CLONE_NEWNS) == 0 && mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            mount(at_.c_str(), at_.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  ~Mounted() {
    if (done_) umount(at_.c_str());
  }
  explicit operator bool() const { return done_; }

 private:
  const fs::path at_;
  bool done_ = false;
};

class ApplyInPlace : public DeltaApplyTest {
 protected:
  // A process that was forked has no threads but its own.
  static void SetUpTestSuite() { set_default_threads(1); }
  void SetUp() override {
    fs::remove_all(base_);
    DeltaApplyTest::SetUp();
    put(base_ / "optimizer/rank_0/state.bin", "state");
    put(base_ / ".git/HEAD", "ref");
    put(base_ / "consolidated.safetensors", "not named by the index");
    fs::create_directories(base_ / "empty");
    fs::create_symlink("optimizer/rank_0", base_ / "latest");
    fs::create_symlink("nowhere", base_ / "dangling");
    ASSERT_EQ(mkfifo((base_ / "pipe").c_str(), 0600), 0);
    others_ = others();
  }

  Status patch_to_next() {
    LW_TRY(apply_deltas(base_, std::vector{delta_}, base_));
    return {};
  }
  // By path: the inode, which a file and a link keep; of directories that they are there.
  std::map<std::string, ino_t> others() const {
    std::map<std::string, ino_t> others;
    for (const auto& entry : fs::recursive_directory_iterator(base_)) {
      const std::string path = entry.path().lexically_relative(base_).string();
      const bool replaced = path.starts_with("1.") || path.starts_with("2.") || path.ends_with(".index.json");
      const bool directory = fs::is_directory(entry.symlink_status());
      if (!replaced) others[path] = directory ? 0 : facts_of(entry.path()).st_ino;
    }
    return others;
  }
  void expect_old() const {
    EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kOld);
    EXPECT_EQ(others(), others_);
    EXPECT_EQ(beside(), 0);
  }
  int64_t beside() const {
    int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      count += entry.path().filename().string().find(".tmp.") != std::string::npos;
    return count;
  }

  const fs::path delta_ = delta("1", "0", kOld, kNext);
  std::map<std::string, ino_t> others_;
};

TEST_F(ApplyInPlace, ReplacesTheShardsAndTheirIndexAndLeavesAllElseAsItWas) {
  const auto applied = patch_to_next();
  ASSERT_TRUE(applied) << applied.error().message;
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kNext);
  EXPECT_EQ(others(), others_);
  EXPECT_EQ(beside(), 0);
  EXPECT_EQ(read_text_file(base_ / "latest/state.bin").value(), "state");
  EXPECT_EQ(fs::read_symlink(base_ / "dangling"), "nowhere");
}

TEST_F(ApplyInPlace, KeepsModesAndTheTimesOfDirectoriesInside) {
  const timespec times[] = {{1000, 1}, {2000, 2}};
  ASSERT_EQ(utimensat(AT_FDCWD, (base_ / "optimizer").c_str(), times, 0), 0);
  const std::pair<const char*, mode_t> modes[] = {{"", 0700},
                                                  {"1.safetensors", 0600},
                                                  {"model.safetensors.index.json", 0640},
                                                  {"optimizer", 02750},
                                                  {"optimizer/rank_0", 0711}};
  for (const auto& [name, mode] : modes) ASSERT_EQ(chmod((base_ / name).c_str(), mode), 0);
  ASSERT_TRUE(patch_to_next());
  for (const auto& [name, mode] : modes) EXPECT_EQ(facts_of(base_ / name).st_mode & 07777, mode) << name;
  EXPECT_EQ(facts_of(base_ / "optimizer").st_mtim.tv_sec, 2000);
  EXPECT_EQ(facts_of(base_ / "optimizer").st_mtim.tv_nsec, 2);
}

TEST_F(ApplyInPlace, TakesDeltasThatLieInsideAndLeavesThemThere) {
  fs::create_directories(base_ / "deltas");
  fs::rename(delta_, base_ / "deltas/1");
  ASSERT_TRUE(apply_deltas(base_, std::vector{base_ / "deltas/1"}, base_));
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kNext);
  EXPECT_TRUE(DeltaDirectory::open(base_ / "deltas/1"));
}

TEST_F(ApplyInPlace, PutsARegularFileInPlaceOfAShardThatIsALink) {
  fs::rename(base_ / "1.safetensors", folder_.path() / "blob");
  fs::create_symlink("../blob", base_ / "1.safetensors");
  ASSERT_TRUE(patch_to_next());
  EXPECT_TRUE(S_ISREG(facts_of(base_ / "1.safetensors").st_mode));
  EXPECT_EQ(values(Checkpoint::open_file(folder_.path() / "blob").value(), "a"), kOld);
}

TEST_F(ApplyInPlace, PatchesWhatALinkLeadsToAndLeavesTheLink) {
  fs::create_directory_symlink("base", folder_.path() / "link");
  ASSERT_TRUE(apply_deltas(folder_.path() / "link", std::vector{delta_}, folder_.path() / "link"));
  EXPECT_TRUE(fs::is_symlink(folder_.path() / "link"));
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kNext);
}

TEST_F(ApplyInPlace, PatchesTheDirectoryThatTheProcessIsIn) {
  const fs::path before = fs::current_path();
  fs::current_path(base_);
  const auto applied = apply_deltas(".", std::vector{delta_}, ".");
  fs::current_path(before);
  ASSERT_TRUE(applied) << applied.error().message;
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kNext);
  EXPECT_EQ(others(), others_);
}

TEST_F(ApplyInPlace, IsRefusedWhileAnotherIsAtIt) {
  {
    const auto lock = DirectoryLock::take(base_);
    const auto applied = patch_to_next();
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code, ErrorCode::kBusy);
    expect_old();
  }
  EXPECT_TRUE(patch_to_next());
}

TEST_F(ApplyInPlace, IsRefusedWhereItIsAMountPoint) {
  const Mounted mounted(base_);
  if (!mounted) GTEST_SKIP() << "this process may not mount";
  const auto applied = patch_to_next();
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("--out"));
  expect_old();
}

class NewerCheckpoint : public ApplyInPlace {
 protected:
  // One file, by `name`, without an index.
  fs::path newer(const std::string& name, const std::string& folder = "newer") {
    const std::pair<std::string, TensorView> tensors[] = {{"a", view_of(kNext)}, {"b", view_of(kOld)}};
    fs::create_directories(folder_.path() / folder);
    EXPECT_TRUE(write_safetensors(folder_.path() / folder / name, tensors));
    return folder_.path() / folder;
  }
  Status take(const fs::path& path) {
    LW_TRY(apply_deltas(base_, std::vector{path}, base_));
    return {};
  }
};

TEST_F(NewerCheckpoint, MayHaveOtherShardsAndBringsItsConfigurationAndTheRestStays) {
  const fs::path path = newer("model.safetensors");
  put(path / "config.json", "newer");
  ASSERT_EQ(chmod((base_ / "config.json").c_str(), 0600), 0);
  const auto applied = take(path);
  ASSERT_TRUE(applied) << applied.error().message;
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kNext);
  EXPECT_FALSE(fs::exists(base_ / "1.safetensors") || fs::exists(base_ / "model.safetensors.index.json"));
  EXPECT_EQ(read_text_file(base_ / "config.json").value(), "newer");
  EXPECT_EQ(facts_of(base_ / "config.json").st_mode & 07777, 0600u);
  auto found = others();
  EXPECT_EQ(found.erase("model.safetensors"), 1u);
  found["config.json"] = others_["config.json"];
  EXPECT_EQ(found, others_);
}

TEST_F(NewerCheckpoint, IsRefusedWhereItsShardHasTheNameOfAnotherFile) {
  const auto applied = take(newer("consolidated.safetensors"));
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("consolidated.safetensors: cannot keep it"));
  expect_old();
}

TEST_F(NewerCheckpoint, IsRefusedWhereItsFileHasTheNameOfADirectory) {
  const fs::path path = newer("model.safetensors");
  put(path / "optimizer", "a file");
  const auto applied = take(path);
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("optimizer: cannot keep it"));
  expect_old();
}

TEST_F(NewerCheckpoint, IsRefusedWhereAFileThatStaysWouldBeReadInItsPlace) {
  fs::copy_file(newer("model.safetensors", "stale") / "model.safetensors", base_ / "model.safetensors");
  others_ = others();
  const auto applied = take(newer("x.safetensors"));
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("model.safetensors stays in it"));
  expect_old();
}

TEST_F(ApplyInPlace, IsRefusedWhereSomethingIsMountedInside) {
  for (const char* name : {"empty", "config.json"}) {
    const Mounted mounted(base_ / name);
    if (!mounted) GTEST_SKIP() << "this process may not mount";
    const auto applied = patch_to_next();
    ASSERT_FALSE(applied);
    EXPECT_THAT(applied.error().message,
                HasSubstr(std::string(name) + ": cannot keep it: it is a mount point"));
    expect_old();
  }
}

// Does something when a step is reached for the `at`-th time, from 0 on.
class AtStep : public Seam {
 public:
  AtStep(Step step, int64_t at, std::function<void()> action)
      : step_(step), at_(at), action_(std::move(action)) {
    set_seam(this);
  }
  ~AtStep() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step == step_ && at_-- == 0) action_();
    return {};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }

 private:
  const Step step_;
  int64_t at_;
  const std::function<void()> action_;
};

TEST_F(ApplyInPlace, IsRefusedWhereAFileCameMeanwhile) {
  const AtStep late(Step::kSync, 4, [&] { put(base_ / "optimizer/late", "late"); });
  const auto applied = patch_to_next();
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("optimizer: files came into it or left it meanwhile"));
  EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kOld);
  EXPECT_EQ(read_text_file(base_ / "optimizer/late").value(), "late");
}

TEST_F(ApplyInPlace, LeavesTheOldOrTheNewCheckpointAndAllElseWhereverItDies) {
  if (ThreadPool::shared().threads() != 1)
    GTEST_SKIP() << "threads run already: ctest has a process for each test";
  int64_t deaths = 0;
  for (const Step step : {Step::kOpen, Step::kMap, Step::kRead, Step::kWrite, Step::kSync, Step::kRename}) {
    for (int64_t at = 0;; ++at, ++deaths) {
      const pid_t child = fork();
      if (child == 0) {
        const AtStep death(step, at, [] { kill(getpid(), SIGKILL); });
        _exit(patch_to_next() ? 0 : 1);
      }
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      const auto found = values(Checkpoint::open(base_).value(), "a");
      EXPECT_TRUE(found == kOld || found == kNext);
      EXPECT_EQ(others(), others_) << static_cast<int>(step) << ", " << at;
      fs::remove_all(fs::path(base_.string() + ".tmp." + std::to_string(child)));
      EXPECT_EQ(others(), others_) << "after what was left behind has gone";
      if (found == kNext) SetUp();
      if (!WIFSIGNALED(status)) break;
    }
  }
  EXPECT_GT(deaths, 20);
}

}  // namespace
}  // namespace liveweight
