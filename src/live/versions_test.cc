#include "live/versions.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
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

TEST(Versions, TellTheCurrentLabelToThoseWhoAskBesideCommits) {
  Versions versions;
  constexpr uint64_t kCommits = 2000;
  const auto commit = [&](uint64_t number) {
    Snapshot::State& next = versions.other();
    while (!versions.wait_for_readers(next, kLong)) continue;
    versions.set(next, {number, {}, {}}, std::to_string(number));
    versions.publish(&next);
  };
  commit(1);
  std::thread reader([&] {
    for (uint64_t number = 0; number < kCommits;) {
      Snapshot::State* state = versions.enter();
      number = state->table.version_number;
      EXPECT_EQ(versions.label_of(number), std::to_string(number));
      Versions::leave(*state);
    }
  });
  for (uint64_t number = 2; number <= kCommits; ++number) commit(number);
  reader.join();
}

}  // namespace
}  // namespace liveweight
