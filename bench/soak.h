// The soak: requests beside an update at every tick, for as long as it is asked to, with all that is promised
// looked at on the way.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "bench/soak_log.h"

namespace liveweight::bench {

struct SoakOptions {
  std::filesystem::path directory;  // of the model
  std::string scheme = "int8_per_channel";
  CommitMode mode = CommitMode::kFlip;  // or kCopy
  double seconds = 60;
  double tick_seconds = 0.2;  // from the beginning of one update to that of the next
  int clients = 8;
  uint64_t seed = 1;
};

struct SoakReport {
  SoakOptions options;
  double seconds = 0;
  bool interrupted = false;
  int64_t requests = 0;
  int64_t spanning_requests = 0;  // with tokens of several versions
  int64_t tokens = 0;
  int64_t tokens_compared = 0;  // with those of a cold load, to the bit
  int64_t failed_steps = 0;
  int64_t digests_checked = 0;
  bool addresses_unchanged = false;
  // Private memory that stays: the least in the second half of the warm-up, which is the first quarter, the
  // least in as long a time at the end, and what may lie between. Single samples have several hundred KB
  // more, which an update holds or the allocator keeps for a while.
  double warm_up_seconds = 0;
  uint64_t warm_bytes = 0, end_bytes = 0, allowed_growth_bytes = 0;
  std::string broken;  // the first promise that was, and how; empty where all were kept
  std::unique_ptr<SoakLog> log;

  // 0 where one of the two was not sampled: no update ended there.
  int64_t growth_bytes() const {
    return warm_bytes && end_bytes ? static_cast<int64_t>(end_bytes) - static_cast<int64_t>(warm_bytes) : 0;
  }
  int64_t events(SoakOutcome outcome) const;
};

// Ends early, with what there is, after a promise was broken or an interrupt. `progress` is told the seconds.
// kUnsupported for the mode in_place, which takes no deltas and keeps no version to roll back to.
Result<SoakReport> run_soak(const SoakOptions& options, const std::function<void(double)>& progress);

}  // namespace liveweight::bench
