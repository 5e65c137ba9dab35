// Requests beside a soak's updates: threads that ask again and again and compare the answers with those of
// cold loads.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/repeating_threads.h"
#include "bench/soak_versions.h"
#include "infer/step_thread.h"

namespace liveweight::bench {

class SoakTraffic {
 public:
  SoakTraffic(const SoakVersions& versions, StepThread& steps, int clients);

  // Waits for the answers that are due. Safe to call again.
  void stop() { threads_.stop(); }

  int64_t requests() const { return requests_; }
  int64_t tokens() const { return tokens_; }
  int64_t tokens_compared() const { return compared_; }
  int64_t spanning() const { return spanning_; }  // requests with tokens of several versions
  // What was wrong with the first answer that was; empty where none was.
  std::string fault() const;

 private:
  bool ask(size_t number);
  // Tokens and log-probabilities of the first version that it saw have the bits of that version's cold load:
  // of later ones they depend on the moment, as keys and values of earlier ones stay.
  std::string compare(size_t request, const Completion& completion);

  const SoakVersions& versions_;
  StepThread& steps_;
  std::atomic<int64_t> requests_{0}, tokens_{0}, compared_{0}, spanning_{0};
  mutable std::mutex mutex_;
  std::string fault_;
  RepeatingThreads threads_;  // last: they use all of the above
};

}  // namespace liveweight::bench
