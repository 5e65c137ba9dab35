// Tensors that are tied stay alike, whichever of their names a delta uses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/delta_apply_fixture.h"

namespace liveweight {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// "a" and "b" are one; the delta of the fixture names "a".
class DeltaTie : public DeltaApplyTest {
 protected:
  using Changes = std::map<std::string, std::vector<uint16_t>>;

  Result<DeltaApplyReport> apply_tied(const fs::path& delta, const TiedTensors& tied = {{"a", "b"}}) const {
    return apply_deltas(base_, std::vector{delta}, out_, tied);
  }
  fs::path delta_of(const Changes& changes, DeltaEncoding encoding = DeltaEncoding::kIndices) {
    auto writer = DeltaWriter::create(folder_.path() / "changes", {encoding});
    for (const auto& [name, updated] : changes)
      EXPECT_TRUE(writer->add(name, view_of(kOld), view_of(updated)));
    EXPECT_TRUE(writer->finish());
    return folder_.path() / "changes";
  }
  void expect_refused(const Result<DeltaApplyReport>& applied) const {
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code, ErrorCode::kBadCheckpoint);
    EXPECT_THAT(applied.error().message, HasSubstr("tensor a: it is tied to b"));
    EXPECT_FALSE(fs::exists(out_));
  }
};

TEST_F(DeltaTie, WhatChangesOneOfThemChangesTheOther) {
  for (const auto encoding : {DeltaEncoding::kXor, DeltaEncoding::kOverwrite, DeltaEncoding::kIndices}) {
    for (const char* named : {"a", "b"}) {
      fs::remove_all(out_);
      fs::remove_all(folder_.path() / "changes");
      const auto report = apply_tied(delta_of({{named, kLast}}, encoding));
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(report->tensors, 2u);
      EXPECT_EQ(report->changed_elements, 2u) << "those that the delta names";
      const Checkpoint made = Checkpoint::open(out_).value();
      EXPECT_EQ(values(made, "a"), kLast);
      EXPECT_EQ(values(made, "b"), kLast);
    }
  }
}

TEST_F(DeltaTie, BothNamesWithTheSameValuesAreTaken) {
  ASSERT_TRUE(apply_tied(delta_of({{"a", kNext}, {"b", kNext}})));
  EXPECT_EQ(values(Checkpoint::open(out_).value(), "b"), kNext);
}

TEST_F(DeltaTie, BothNamesWithDifferentValuesAreRefused) {
  expect_refused(apply_tied(delta_of({{"a", kNext}, {"b", kLast}})));
}

TEST_F(DeltaTie, ThatDidNotHoldBeforeIsRefusedWhereOneOfThemChanges) {
  const std::vector<uint16_t> other{1, 2, 4};
  const std::pair<std::string, TensorView> tensors[] = {{"b", view_of(other)}};
  ASSERT_TRUE(write_safetensors(base_ / "2.safetensors", tensors));
  expect_refused(apply_tied(delta_of({{"a", kNext}})));
}

TEST_F(DeltaTie, OfANewerCheckpointThatDoesNotHoldIsRefused) {
  fs::copy(base_, folder_.path() / "newer");
  const std::pair<std::string, TensorView> tensors[] = {{"b", view_of(kNext)}};
  ASSERT_TRUE(write_safetensors(folder_.path() / "newer/2.safetensors", tensors));
  expect_refused(apply_tied(folder_.path() / "newer"));
}

TEST_F(DeltaTie, TheNameThatTheCheckpointLeavesOutIsTakenForTheOther) {
  const TiedTensors tied{{"head", "b"}};
  const auto report = apply_tied(delta_of({{"head", kNext}}), tied);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->changed_elements, 1u);
  EXPECT_EQ(values(Checkpoint::open(out_).value(), "b"), kNext);
}

TEST_F(DeltaTie, TheNameThatTheCheckpointLeavesOutMustAgreeWithTheOther) {
  const auto applied = apply_tied(delta_of({{"head", kNext}, {"b", kLast}}), {{"head", "b"}});
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, AllOf(HasSubstr("tensor head"), HasSubstr("tied to b")));
}

}  // namespace
}  // namespace liveweight
