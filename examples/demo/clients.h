// The stream of requests: threads that ask one problem after another until they are stopped.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "demo/ledger.h"
#include "demo/sample.h"
#include "infer/step_thread.h"

namespace liveweight::demo {

class Clients {
 public:
  Clients(const Sample& sample, StepThread& server, Ledger& ledger, int count);
  ~Clients();

  // Waits for the answers that are due. Safe to call again.
  void stop();

 private:
  void run();

  const Sample& sample_;
  StepThread& server_;
  Ledger& ledger_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> next_{0};  // all clients together go through the problems in order, again and again
  std::vector<std::thread> threads_;
};

}  // namespace liveweight::demo
