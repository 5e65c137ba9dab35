#include "base/processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/threads.h"

namespace liveweight {
namespace {

using testing::ElementsAre;

// In a thread of its own, as a binding lasts.
template <typename Body>
void in_a_thread(const Body& body) {
  std::thread(body).join();
}

TEST(Processors, ThoseThatAThreadMayUseAreCounted) {
  const std::vector<int> all = allowed_processors();
  ASSERT_FALSE(all.empty());
  in_a_thread([&] {
    ASSERT_TRUE(pin_this_thread(all.back()));
    EXPECT_THAT(allowed_processors(), ElementsAre(all.back()));
    if (!std::getenv("LIVEWEIGHT_THREADS")) {
      EXPECT_EQ(default_threads(), 1);
    }
  });
  EXPECT_EQ(allowed_processors(), all);
}

TEST(Processors, OneThatIsNotThereIsRefused) {
  in_a_thread([] {
    const std::vector<int> before = allowed_processors();
    EXPECT_FALSE(pin_this_thread(-1));
    EXPECT_FALSE(pin_this_thread(1 << 20));
    EXPECT_EQ(allowed_processors(), before);
  });
}

// The processors that each thread of a pool may use. Items wait for each other, so that each thread has one.
std::set<std::vector<int>> processors_of_workers(int threads) {
  ThreadPool pool(threads);
  std::mutex mutex;
  std::set<std::vector<int>> seen;
  std::atomic<int> arrived{0};
  const std::thread::id caller = std::this_thread::get_id();
  pool.parallel_for(threads, [&](int64_t) {
    for (++arrived; arrived < threads;) std::this_thread::yield();
    std::lock_guard lock(mutex);
    if (std::this_thread::get_id() != caller) seen.insert(allowed_processors());
  });
  return seen;
}

class Pinning : public testing::Test {
 protected:
  void TearDown() override { set_pin_threads(std::nullopt); }
};

TEST_F(Pinning, BindsEachThreadOfAPoolToAProcessorButNotItsCaller) {
  const std::vector<int> all = allowed_processors();
  set_pin_threads(true);
  std::set<std::vector<int>> expected;
  const auto threads = static_cast<int>(all.size()) + 1;
  for (int i = 1; i < threads; ++i) expected.insert({all[i % all.size()]});
  EXPECT_EQ(processors_of_workers(threads), expected);
  EXPECT_EQ(allowed_processors(), all);
}

TEST_F(Pinning, IsOffUnlessItIsAskedFor) {
  set_pin_threads(false);
  EXPECT_EQ(processors_of_workers(3), (std::set<std::vector<int>>{allowed_processors()}));
  set_pin_threads(std::nullopt);
  if (!std::getenv("LIVEWEIGHT_PIN_THREADS")) {
    EXPECT_FALSE(pin_threads());
  }
}

}  // namespace
}  // namespace liveweight
