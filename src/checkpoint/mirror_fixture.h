// For tests: a mirror of two tensors of odd sizes, and what goes wrong while it is changed.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "base/seam.h"
#include "liveweight/mirror.h"

namespace liveweight {

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

// Fails at the `at`-th time that the step is reached; at all of them it does what a test wants.
class At : public Seam {
 public:
  At(Step step, int at, std::function<void()> meanwhile = {})
      : step_(step), at_(at), meanwhile_(std::move(meanwhile)) {
    set_seam(this);
  }
  ~At() override { set_seam(nullptr); }
  Status reached(Step step) override {
    if (step != step_) return {};
    if (meanwhile_) meanwhile_();
    return count_++ == at_ ? Status(fail(ErrorCode::kIo, "the test wants this to fail", {})) : Status{};
  }
  size_t shortened(Step, size_t bytes) override { return bytes; }
  int count() const { return count_; }

 private:
  const Step step_;
  const int at_;
  const std::function<void()> meanwhile_;
  int count_ = 0;
};

}  // namespace liveweight
