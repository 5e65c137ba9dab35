// Directories of shards: what an index may say, what must be there, and what a bare directory means.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("lw_checkpoint_" + std::to_string(getpid()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void shard(const std::string& file, const std::vector<std::string>& names) const {
    static const std::byte kByte{7};
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, TensorView{DType::kU8, {1}, &kByte, 1});
    ASSERT_TRUE(write_safetensors(directory_ / file, tensors));
  }
  void index(const std::string& text) const {
    std::ofstream(directory_ / "model.safetensors.index.json") << text;
  }
  void expect_refused(const std::string& named) const {
    const auto checkpoint = Checkpoint::open(directory_);
    ASSERT_FALSE(checkpoint) << named;
    EXPECT_NE(checkpoint.error().message.find(named), std::string::npos) << checkpoint.error().message;
  }

  std::filesystem::path directory_;
};

TEST_F(CheckpointTest, AnIndexWithAWrongTotalSizeIsRead) {
  shard("1.safetensors", {"a", "not promised"});
  shard("2.safetensors", {"b"});
  index(R"({"metadata":{"total_size":-5},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->find("b")->file, "2.safetensors");
  EXPECT_EQ(checkpoint->find("not promised"), nullptr);
}

TEST_F(CheckpointTest, FilesThatAnIndexDoesNotNameMayBeAnything) {
  shard("1.safetensors", {"a"});
  shard("no.extension", {"b"});
  std::ofstream(directory_ / "0.safetensors") << "not a header";
  std::filesystem::create_directory(directory_ / "2.safetensors");
  std::filesystem::create_symlink("nowhere", directory_ / "3.safetensors");
  ASSERT_EQ(mkfifo((directory_ / "4.safetensors").c_str(), 0600), 0);
  index(R"({"weight_map":{"a":"1.safetensors","b":"no.extension"}})");
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->file_names(), (std::vector<std::string>{"1.safetensors", "no.extension"}));
  index(R"({"weight_map":{"a":"0.safetensors"}})");
  expect_refused("0.safetensors: the header's length");
}

TEST_F(CheckpointTest, AnIndexThatPromisesWhatIsNotThereIsRefusedByName) {
  shard("1.safetensors", {"a"});
  index(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  expect_refused("index.json: shard 2.safetensors is missing");
  index(R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors"}})");
  expect_refused("tensor b");
}

TEST_F(CheckpointTest, AnIndexThatIsMalformedOrLeavesTheDirectoryIsRefused) {
  shard("1.safetensors", {"a"});
  for (const char* file : {R"("../x")", R"("/etc/passwd")", R"("..")", R"(".")", R"("")", R"("a/b")",
                           R"("a\u0000b")", "1", "null", R"(["1.safetensors"])"}) {
    index(std::string(R"({"weight_map":{"a":)") + file + "}}");
    expect_refused("weight_map.a");
  }
  for (const char* text : {R"({"weight_map":{}})", "{}", R"({"weight_map":[]})", R"({"weight_map":"x"})"}) {
    index(text);
    expect_refused("weight_map");
  }
  for (const char* text : {"", "[]", "{", "\xff"}) {
    index(text);
    expect_refused("model.safetensors.index.json");
  }
  for (const char* before : {"", R"({"weight_map":{"a":)", R"({"a":"]]]]]]]]]]]]]]]]","weight_map":{"a":)"}) {
    index(before + std::string(500'000, '[') + std::string(500'000, ']') + (*before ? "}}" : ""));
    expect_refused("model.safetensors.index.json");
  }
}

TEST_F(CheckpointTest, ATensorThatAnIndexNamesTwiceIsRefused) {
  shard("1.safetensors", {"a"});
  index(R"({"weight_map":{"a":"1.safetensors","a":"1.safetensors"}})");
  expect_refused("a is there twice");
}

TEST_F(CheckpointTest, ATensorThatAnIndexPutsInTwoShardsIsRefused) {
  shard("1.safetensors", {"a"});
  shard("2.safetensors", {"a"});
  index(R"({"weight_map":{"a":"1.safetensors","a":"2.safetensors"}})");
  expect_refused("a is there twice");
}

TEST_F(CheckpointTest, AnIndexMayNameTensorsInAnyOrder) {
  shard("1.safetensors", {"a", "b", "c"});
  shard("2.safetensors", {"d", "not promised", "e"});
  index(R"({"weight_map":{"e":"2.safetensors","b":"1.safetensors","d":"2.safetensors","a":"1.safetensors",
                         "c":"1.safetensors"}})");
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  std::vector<std::string_view> names;
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    names.push_back(tensor.name);
    EXPECT_EQ(checkpoint->find(tensor.name), &tensor);
  }
  EXPECT_EQ(names, (std::vector<std::string_view>{"a", "b", "c", "d", "e"}));
}

TEST_F(CheckpointTest, OfATensorInTwoShardsTheIndexsIsTaken) {
  shard("1.safetensors", {"a", "b"});
  shard("2.safetensors", {"a"});
  index(R"({"metadata":{"version":"7"},"weight_map":{"a":"2.safetensors","b":"1.safetensors"}})");
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->find("a")->file, "2.safetensors");
}

TEST_F(CheckpointTest, TheIndexsVersionIsBeforeTheFiles) {
  static const std::byte kByte{7};
  const std::pair<std::string, TensorView> tensors[] = {{"a", {DType::kU8, {1}, &kByte, 1}}};
  ASSERT_TRUE(write_safetensors(directory_ / "1.safetensors", tensors, {{"version", "1"}}));
  index(R"({"metadata":{"version":"2"},"weight_map":{"a":"1.safetensors"}})");
  EXPECT_EQ(version_of(*Checkpoint::open(directory_)).value(), "2");
  index(R"({"weight_map":{"a":"1.safetensors"}})");
  EXPECT_EQ(version_of(*Checkpoint::open(directory_)).value(), "1");
}

TEST_F(CheckpointTest, FilesAreInTheOrderOfTheirNames) {
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) {
    names.push_back(std::to_string(i * 7 % 20) + ".safetensors");
    shard(names.back(), {names.back()});
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(Checkpoint::open(directory_)->file_names(), names);
}

TEST_F(CheckpointTest, ABareDirectoryIsAllOfItsShards) {
  shard("model-00001-of-00002.safetensors", {"a"});
  expect_refused("model-00002-of-00002.safetensors");
  shard("model-00002-of-00002.safetensors", {"b"});
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  shard("other.safetensors", {"b"});
  expect_refused("tensor b");
}

TEST_F(CheckpointTest, NothingAndNoDirectoryAreRefused) {
  expect_refused(directory_.string());
  EXPECT_FALSE(Checkpoint::open(directory_ / "absent"));
  std::filesystem::create_directory(directory_ / "model.safetensors");
  expect_refused("model.safetensors");
}

TEST_F(CheckpointTest, AFileThatWasReplacedIsNoticed) {
  shard("model.safetensors", {"a"});
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint);
  EXPECT_TRUE(checkpoint->check_unchanged());
  shard("model.safetensors", {"a", "b"});
  EXPECT_FALSE(checkpoint->check_unchanged());
}

}  // namespace
}  // namespace liveweight
