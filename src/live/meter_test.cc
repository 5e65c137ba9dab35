#include "live/meter.h"

#include <gtest/gtest.h>

namespace liveweight {
namespace {

TEST(MemoryMeter, DoesNotCountWhatItRefused) {
  MemoryMeter meter(10);
  EXPECT_FALSE(meter.charge(11));
  EXPECT_EQ(meter.peak(), 0u);
  EXPECT_TRUE(meter.charge(4));
  EXPECT_FALSE(meter.charge(7));
  EXPECT_TRUE(meter.charge(6)) << "that much is still free";
  EXPECT_EQ(meter.peak(), 10u);
}

TEST(MemoryMeter, KeepsThePeakAndTakesAgainWhatWasReleased) {
  MemoryMeter meter(10);
  EXPECT_TRUE(meter.charge(8));
  meter.release(8);
  EXPECT_TRUE(meter.charge(3));
  EXPECT_EQ(meter.peak(), 8u);
}

}  // namespace
}  // namespace liveweight
