// One thread that runs an engine's steps for as many callers as there are.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "liveweight/engine.h"

namespace liveweight {

class StepThread {
 public:
  // Called on the thread before each step that may have something to do and after each that did.
  struct Watch {
    std::function<void()> before;
    std::function<void()> after;
  };

  explicit StepThread(Engine& engine, Watch watch = {});
  ~StepThread();

  // Waits for the step that is running. No call of `ask` may be open any more. Safe to call again.
  void stop();

  // Waits for the answer. Thread-safe.
  Result<Completion> ask(Request request);

  // Of a step that failed; nothing is answered after it.
  std::optional<Error> fault() const;

 private:
  void run();

  Engine& engine_;
  const Watch watch_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::optional<Error> fault_;
  std::thread thread_;
};

}  // namespace liveweight
