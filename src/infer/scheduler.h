// Who runs in the next step: places in the KV cache are given out in order of arrival; each step takes one
// token of every request that is decoding, and fills up with prompts. `submit` and `cancel` are thread-safe;
// the rest is for the one thread that runs the step.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <vector>

#include "infer/calls.h"
#include "infer/sequence.h"

namespace liveweight {

class Scheduler {
 public:
  explicit Scheduler(int64_t max_sequences) : places_(static_cast<size_t>(max_sequences)) {}

  uint64_t submit(Request request, RequestCallbacks callbacks);
  bool cancel(uint64_t id);
  bool wait_for_work(std::chrono::milliseconds timeout);
  int64_t running() const;
  int64_t waiting() const;

  // Takes out who was cancelled, and lets in who waits.
  std::vector<std::unique_ptr<Sequence>> begin_step();

  // Fills in the tokens, positions and wanted logits of the next step.
  struct Part {
    int64_t place = 0;
    int64_t tokens = 0;
    int64_t logits = -1;  // which row of the logits is its; -1 while its prompt is not all in
  };
  std::vector<Part> plan(StepInput& input) const;

  Sequence& at(int64_t place) { return *places_[place]; }
  std::unique_ptr<Sequence> take_out(int64_t place);
  std::optional<int64_t> free_place() const;

 private:
  Part add_part(int64_t place, int64_t tokens, StepInput& input) const;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  uint64_t last_id_ = 0;
  std::deque<std::unique_ptr<Sequence>> queue_;
  std::vector<std::unique_ptr<Sequence>> places_;
  std::unordered_set<uint64_t> alive_;
  std::unordered_set<uint64_t> cancelled_;
};

}  // namespace liveweight
