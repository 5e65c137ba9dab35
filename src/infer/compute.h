// The threads of one engine and a buffer for each of them. An engine has its own threads: those of a reload
// come in turns of seconds, and generation is to go on beside it. One caller at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/threads.h"
#include "infer/aligned.h"

namespace liveweight {

class Compute {
 public:
  // `scratch_floats` for each thread, aligned to 64 bytes, allocated once.
  Compute(int threads, int64_t scratch_floats);

  // Calls body(worker, i) once for each i in [0, count); `worker` says which scratch is its own. Workers
  // begin with neighbouring i of their own, in order, and help the others when those are done. On the caller
  // alone where `total_work` (elements touched, roughly) is not worth waking the others.
  void for_each(int64_t count, int64_t total_work, const std::function<void(int worker, int64_t i)>& body);

  float* scratch(int worker) { return scratch_.data() + worker * scratch_floats_; }
  int threads() const { return pool_.threads(); }

 private:
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  ThreadPool pool_;
  std::vector<Share> shares_;
  int64_t scratch_floats_;
  AlignedVector<float> scratch_;
};

}  // namespace liveweight
