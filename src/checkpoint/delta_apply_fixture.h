// For tests: a checkpoint of two shards, and deltas of it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/temporary_folder.h"
#include "liveweight/delta.h"

namespace liveweight {

namespace fs = std::filesystem;

inline TensorView view_of(const std::vector<uint16_t>& data) {
  return {DType::kBF16,
          {static_cast<int64_t>(data.size())},
          reinterpret_cast<const std::byte*>(data.data()),
          data.size() * 2};
}

class DeltaApplyTest : public ::testing::Test {
 protected:
  // Two tensors in a shard each, and what else a checkpoint has.
  void SetUp() override {
    fs::create_directories(base_);
    write("1.safetensors", "a", {{"version", "0"}, {"format", "pt"}});
    write("2.safetensors", "b", {});
    std::ofstream(base_ / "model.safetensors.index.json")
        << R"({"metadata": {"version": "0", "total_size": 12}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})";
    std::ofstream(base_ / "config.json") << "{}";
  }
  void write(const char* file, const char* name, const std::map<std::string, std::string>& metadata) {
    const std::pair<std::string, TensorView> tensors[] = {{name, view_of(kOld)}};
    ASSERT_TRUE(write_safetensors(base_ / file, tensors, metadata));
  }

  fs::path delta(const std::string& version, const std::string& base, const std::vector<uint16_t>& old,
                 const std::vector<uint16_t>& updated) {
    DeltaWriteOptions options;
    options.version = version;
    options.base_version = base;
    auto writer = DeltaWriter::create(folder_.path() / ("delta" + version), options);
    EXPECT_TRUE(writer && writer->add("a", view_of(old), view_of(updated)) && writer->finish());
    return folder_.path() / ("delta" + version);
  }

  Result<DeltaApplyReport> apply(const std::vector<fs::path>& deltas) const {
    return apply_deltas(base_, deltas, out_);
  }
  static std::vector<uint16_t> values(const Checkpoint& checkpoint, const char* name) {
    const TensorView view = checkpoint.find(name)->view;
    std::vector<uint16_t> values(view.bytes / 2);
    std::memcpy(values.data(), view.data, view.bytes);
    return values;
  }

  const std::vector<uint16_t> kOld{1, 2, 3}, kNext{9, 2, 3}, kLast{9, 2, 8};
  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const fs::path base_ = folder_.path() / "base", out_ = folder_.path() / "out";
};

}  // namespace liveweight
