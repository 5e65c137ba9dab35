#include "infer/compute.h"

#include <algorithm>

namespace liveweight {
namespace {

constexpr int64_t kWorthSharing = 1 << 16;

}  // namespace

Compute::Compute(int threads, int64_t scratch_floats)
    : pool_(std::max(threads, 1)),
      scratch_floats_(scratch_floats),
      scratch_(static_cast<size_t>(pool_.threads() * scratch_floats)) {}

void Compute::for_each(int64_t count, int64_t total_work, const std::function<void(int, int64_t)>& body) {
  const int64_t workers = std::min<int64_t>(pool_.threads(), count);
  if (workers <= 1 || total_work < kWorthSharing) {
    for (int64_t i = 0; i < count; ++i) body(0, i);
    return;
  }
  std::atomic<int64_t> next{0};
  pool_.parallel_for(workers, [&](int64_t worker) {
    for (int64_t i = next++; i < count; i = next++) body(static_cast<int>(worker), i);
  });
}

}  // namespace liveweight
