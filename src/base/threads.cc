#include "base/threads.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/processors.h"

namespace liveweight {
namespace {

std::atomic<int> g_default_threads{0};
std::atomic<int> g_pin_threads{-1};  // 0 or 1 where it was chosen

int threads_from_environment() {
  const char* text = std::getenv("LIVEWEIGHT_THREADS");
  if (!text) return 0;
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  const bool whole = error == std::errc() && end == view.data() + view.size();
  return whole && value > 0 ? value : 0;
}

// Between the parallel parts of one step lie microseconds, less than the system needs to wake a thread: a
// short spin, about as long as that, comes before sleep. Tells whether `ready` came true meanwhile.
template <typename Ready>
bool spin_until(const Ready& ready) {
  constexpr int kSpins = 4000;
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return true;
    hwy::Pause();
  }
  return ready();
}

}  // namespace

struct ThreadPool::State {
  static constexpr uint32_t kOpen = uint32_t{1} << 31;

  std::vector<std::thread> workers;
  std::mutex turn;  // one parallel_for at a time
  std::mutex mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  const std::function<void(int64_t)>* body = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> generation{0};  // changed, like `stopping`, under the mutex
  // Of the current call: whether workers may still come to it (kOpen), and how many are at it. The caller
  // waits for those only, not for threads that the system has yet to wake, which find the call closed.
  std::atomic<uint32_t> inside{0};
  std::exception_ptr thrown;  // by a body of the current call; under the mutex
  std::atomic<bool> stopping{false};
  bool spins = false;  // a thread that spins has a processor for itself

  void take_items() {
    try {
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) (*body)(i);
    } catch (...) {
      next = count;
      std::lock_guard lock(mutex);
      if (!thrown) thrown = std::current_exception();
    }
  }

  bool enter() {
    uint32_t now = inside;
    while ((now & kOpen) != 0) {
      if (inside.compare_exchange_weak(now, now + 1)) return true;
    }
    return false;
  }

  void serve() {
    uint64_t seen = 0;
    const auto called = [&] { return stopping || generation != seen; };
    while (true) {
      if (!spins || !spin_until(called)) {
        std::unique_lock lock(mutex);
        work_ready.wait(lock, called);
      }
      if (stopping) return;
      seen = generation;
      if (!enter()) continue;
      take_items();
      if (--inside > 0) continue;
      std::lock_guard lock(mutex);
      work_done.notify_one();
    }
  }

  void close_and_wait() {
    const auto done = [&] { return inside == 0; };
    inside &= ~kOpen;
    if (spins && spin_until(done)) return;
    std::unique_lock lock(mutex);
    work_done.wait(lock, done);
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const std::vector<int> processors = allowed_processors();
  const bool pin = pin_threads();
  state_->spins = threads <= static_cast<int>(processors.size());
  // Where the machine has no more threads or memory to give, those that are there do the work.
  try {
    state_->workers.reserve(static_cast<size_t>(std::max(0, threads - 1)));
    for (int i = 1; i < threads; ++i) {
      const int processor = pin ? processors[static_cast<size_t>(i) % processors.size()] : -1;
      state_->workers.emplace_back([state = state_.get(), processor] {
        if (processor >= 0) pin_this_thread(processor);
        state->serve();
      });
    }
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work_ready.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 1 || state_->workers.empty()) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::lock_guard turn(state_->turn);
  state_->body = &body;
  state_->count = count;
  state_->next = 0;
  state_->inside = State::kOpen;
  {
    std::lock_guard lock(state_->mutex);
    ++state_->generation;
  }
  state_->work_ready.notify_all();
  state_->take_items();
  state_->close_and_wait();
  if (state_->thrown) std::rethrow_exception(std::exchange(state_->thrown, nullptr));
}

ThreadPool& ThreadPool::shared() {
  static ThreadPool pool(default_threads());
  return pool;
}

int default_threads() {
  if (const int chosen = g_default_threads.load()) return chosen;
  if (const int chosen = threads_from_environment()) return chosen;
  return static_cast<int>(allowed_processors().size());
}

void set_default_threads(int threads) {
  g_default_threads = std::max(0, threads);
}

bool pin_threads() {
  if (const int chosen = g_pin_threads.load(); chosen >= 0) return chosen != 0;
  const char* text = std::getenv("LIVEWEIGHT_PIN_THREADS");
  return text && std::string_view(text) == "1";
}

void set_pin_threads(std::optional<bool> pin) {
  g_pin_threads = pin ? static_cast<int>(*pin) : -1;
}

}  // namespace liveweight
