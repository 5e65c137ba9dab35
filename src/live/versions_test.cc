#include "live/versions.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace liveweight {
namespace {

constexpr std::chrono::milliseconds kMoment{30}, kLong{20'000};

TEST(Versions, LetThoseInWhoCameWhileTheGateWasShut) {
  const auto versions = std::make_shared<Versions>();
  const auto came = std::make_shared<std::atomic<bool>>(false),
             entered = std::make_shared<std::atomic<bool>>(false);
  const auto wait_for = [](const std::atomic<bool>& what) {
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (!what && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kMoment);
    return what.load();
  };
  versions->publish(&versions->other());
  ASSERT_TRUE(versions->shut_gate(kLong));
  std::thread([=] {
    *came = true;
    Versions::leave(*versions->enter());
    *entered = true;
  }).detach();
  ASSERT_TRUE(wait_for(*came));
  std::this_thread::sleep_for(kMoment);
  EXPECT_FALSE(*entered);
  versions->open_gate();
  EXPECT_TRUE(wait_for(*entered)) << "nobody woke it";
}

}  // namespace
}  // namespace liveweight
