#include "infer/scheduler.h"

#include <algorithm>
#include <utility>

namespace liveweight {

uint64_t Scheduler::submit(Request request, RequestCallbacks callbacks) {
  std::lock_guard lock(mutex_);
  const uint64_t id = ++last_id_;
  queue_.push_back(std::make_unique<Sequence>(id, std::move(request), std::move(callbacks)));
  alive_.insert(id);
  work_.notify_all();
  return id;
}

bool Scheduler::cancel(uint64_t id) {
  std::lock_guard lock(mutex_);
  return alive_.contains(id) && cancelled_.insert(id).second;
}

bool Scheduler::wait_for_work(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return work_.wait_for(lock, timeout, [&] { return !alive_.empty(); });
}

int64_t Scheduler::waiting() const {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(queue_.size());
}

int64_t Scheduler::running() const {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(alive_.size() - queue_.size());
}

std::vector<std::unique_ptr<Sequence>> Scheduler::begin_step() {
  std::lock_guard lock(mutex_);
  std::vector<std::unique_ptr<Sequence>> gone;
  const auto remove = [&](std::unique_ptr<Sequence>& sequence) {
    if (!sequence || !cancelled_.erase(sequence->id())) return;
    alive_.erase(sequence->id());
    sequence->finish(FinishReason::kCancelled);
    gone.push_back(std::move(sequence));
  };
  for (auto& sequence : queue_) remove(sequence);
  std::erase(queue_, nullptr);
  for (auto& sequence : places_) remove(sequence);
  for (auto& place : places_) {
    if (place || queue_.empty()) continue;
    place = std::move(queue_.front());
    queue_.pop_front();
    place->start();
  }
  return gone;
}

Scheduler::Part Scheduler::add_part(int64_t place, int64_t tokens, StepInput& input) const {
  const Sequence& sequence = *places_[place];
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t position = sequence.cached() + i;
    input.tokens[input.rows] = sequence.token_at(position);
    input.positions[input.rows] = position;
    input.sequences[input.rows] = place;
    ++input.rows;
  }
  if (sequence.cached() + tokens < sequence.tokens()) return {place, tokens, -1};
  input.logits_of[input.logit_rows] = input.rows - 1;
  return {place, tokens, input.logit_rows++};
}

std::vector<Scheduler::Part> Scheduler::plan(StepInput& input) const {
  input.rows = input.logit_rows = 0;
  const auto room = static_cast<int64_t>(input.tokens.size());
  std::vector<Part> parts;
  for (const bool decoding : {true, false}) {
    for (size_t place = 0; place < places_.size(); ++place) {
      if (!places_[place]) continue;
      const int64_t missing = places_[place]->tokens() - places_[place]->cached();
      const int64_t tokens = std::min(missing, room - input.rows);
      if ((missing == 1) == decoding && tokens > 0) {
        parts.push_back(add_part(static_cast<int64_t>(place), tokens, input));
      }
    }
  }
  return parts;
}

std::unique_ptr<Sequence> Scheduler::take_out(int64_t place) {
  std::lock_guard lock(mutex_);
  std::unique_ptr<Sequence> sequence = std::move(places_[place]);
  alive_.erase(sequence->id());
  cancelled_.erase(sequence->id());
  return sequence;
}

std::optional<int64_t> Scheduler::free_place() const {
  const auto found = std::find(places_.begin(), places_.end(), nullptr);
  if (found == places_.end()) return std::nullopt;
  return found - places_.begin();
}

}  // namespace liveweight
