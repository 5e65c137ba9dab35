#include "base/seam.h"

#include <atomic>

namespace liveweight {
namespace {

std::atomic<Seam*> g_seam{nullptr};

}  // namespace

void set_seam(Seam* seam) {
  g_seam = seam;
}

Status reach(Step step) {
  Seam* const seam = g_seam.load(std::memory_order_acquire);
  return seam ? seam->reached(step) : Status{};
}

size_t shortened(Step step, size_t bytes) {
  Seam* const seam = g_seam.load(std::memory_order_acquire);
  return seam ? seam->shortened(step, bytes) : bytes;
}

}  // namespace liveweight
