// A full checkpoint among the deltas has the tensors of the one that it takes the place of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/delta_apply_fixture.h"

namespace liveweight {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DeltaChainTest : public DeltaApplyTest {
 protected:
  using Tensors = std::vector<std::pair<std::string, TensorView>>;

  // Refused, in place and beside, and nothing is changed.
  void expect_refused(const Tensors& tensors, ErrorCode code, const std::string& what) const {
    const fs::path newer = folder_.path() / "newer";
    fs::create_directories(newer);
    ASSERT_TRUE(write_safetensors(newer / "model.safetensors", tensors));
    for (const fs::path& out : {base_, out_}) {
      const auto applied = apply_deltas(base_, std::vector{newer}, out);
      ASSERT_FALSE(applied);
      EXPECT_EQ(applied.error().code, code);
      EXPECT_THAT(applied.error().message, AllOf(HasSubstr("newer: tensor " + what), HasSubstr("/base")));
    }
    EXPECT_EQ(values(Checkpoint::open(base_).value(), "a"), kOld);
    EXPECT_FALSE(fs::exists(out_));
  }

  const std::vector<uint16_t> more_{1, 2, 3, 4};
};

TEST_F(DeltaChainTest, OneWithoutATensorIsRefused) {
  expect_refused({{"a", view_of(kNext)}}, ErrorCode::kMissingTensor, "b: expected BF16 [3] as in");
}

TEST_F(DeltaChainTest, OneWithATensorMoreIsRefused) {
  expect_refused({{"a", view_of(kNext)}, {"b", view_of(kOld)}, {"c", view_of(kOld)}},
                 ErrorCode::kUnknownTensor, "c: it is not in");
}

TEST_F(DeltaChainTest, OneOfAnotherShapeIsRefused) {
  expect_refused({{"a", view_of(kNext)}, {"b", view_of(more_)}}, ErrorCode::kWrongShape,
                 "b: expected [3] as in");
}

TEST_F(DeltaChainTest, OneOfAnotherDtypeIsRefused) {
  TensorView half = view_of(kOld);
  half.dtype = DType::kF16;
  expect_refused({{"a", view_of(kNext)}, {"b", half}}, ErrorCode::kWrongDtype, "b: expected BF16 as in");
}

}  // namespace
}  // namespace liveweight
