#include "base/guarded.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

namespace liveweight {
namespace {

TEST(Guarded, GivesWhatItsBodyGivesAndAnErrorForWhatItThrows) {
  EXPECT_EQ(guarded([]() -> Result<int> { return 3; }).value(), 3);
  const Status memory = guarded([]() -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(memory.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(memory.error().message, "out of memory");
  const Status other = guarded([]() -> Status { throw std::runtime_error("the loader broke"); });
  EXPECT_EQ(other.error().code, ErrorCode::kInternal);
  EXPECT_EQ(other.error().message, "the loader broke");
  EXPECT_EQ(guarded([]() -> Status { throw 3; }).error().code, ErrorCode::kInternal);
}

}  // namespace
}  // namespace liveweight
