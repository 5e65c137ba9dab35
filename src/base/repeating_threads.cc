#include "base/repeating_threads.h"

#include <utility>

namespace liveweight {

RepeatingThreads::RepeatingThreads(int threads, std::function<bool(size_t)> once) : once_(std::move(once)) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (!stopping_ && once_(next_++)) {
      }
    });
  }
}

RepeatingThreads::~RepeatingThreads() {
  stop();
}

void RepeatingThreads::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace liveweight
