#include "infer/compute.h"

#include <algorithm>

namespace liveweight {
namespace {

constexpr int64_t kWorthSharing = 1 << 16;

}  // namespace

Compute::Compute(int threads, int64_t scratch_floats)
    : pool_(std::max(threads, 1)),
      shares_(static_cast<size_t>(pool_.threads())),
      scratch_floats_((scratch_floats + 15) / 16 * 16),
      scratch_(static_cast<size_t>(pool_.threads() * scratch_floats_)) {}

void Compute::for_each(int64_t count, int64_t total_work, const std::function<void(int, int64_t)>& body) {
  const int64_t workers = std::min<int64_t>(pool_.threads(), count);
  if (workers <= 1 || total_work < kWorthSharing) {
    for (int64_t i = 0; i < count; ++i) body(0, i);
    return;
  }
  for (int64_t worker = 0; worker < workers; ++worker) {
    shares_[worker].next = worker * count / workers;
    shares_[worker].end = (worker + 1) * count / workers;
  }
  pool_.parallel_for(workers, [&](int64_t worker) {
    for (int64_t i = 0; i < workers; ++i) {
      Share& share = shares_[(worker + i) % workers];
      for (int64_t at = share.next++; at < share.end; at = share.next++) body(static_cast<int>(worker), at);
    }
  });
}

}  // namespace liveweight
