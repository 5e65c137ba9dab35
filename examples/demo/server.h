// Serving: one thread that runs the engine's steps for as many callers as there are.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "liveweight/engine.h"

namespace liveweight::demo {

class Server {
 public:
  explicit Server(Engine& engine);
  ~Server();  // no call of `ask` may be open any more

  // Waits for the answer. Thread-safe.
  Result<Completion> ask(Request request);

 private:
  void run();
  std::optional<Error> fault() const;

  Engine& engine_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::optional<Error> fault_;  // of a step; nothing is answered after it
  std::thread thread_;
};

}  // namespace liveweight::demo
