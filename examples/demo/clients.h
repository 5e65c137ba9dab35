// The stream of requests: threads that ask one problem after another until they are stopped.
#pragma once

#include "base/repeating_threads.h"
#include "demo/ledger.h"
#include "demo/sample.h"
#include "infer/step_thread.h"

namespace liveweight::demo {

class Clients {
 public:
  Clients(const Sample& sample, StepThread& server, Ledger& ledger, int count);

  // Waits for the answers that are due. Safe to call again.
  void stop() { threads_.stop(); }

 private:
  bool ask(size_t number);

  const Sample& sample_;
  StepThread& server_;
  Ledger& ledger_;
  RepeatingThreads threads_;  // all together go through the problems in order, again and again
};

}  // namespace liveweight::demo
