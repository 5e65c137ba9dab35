#include "live/mirrored.h"

namespace liveweight {

TensorView mirrored(const Plan::Implementation& plan, const Mirror& mirror, int32_t source) {
  TensorView view = mirror.find(plan.sources[source].name);
  for (int32_t other = 0; !view.data && other < static_cast<int32_t>(plan.sources.size()); ++other) {
    if (plan.primary_of(other) == plan.primary_of(source)) view = mirror.find(plan.sources[other].name);
  }
  return view;
}

}  // namespace liveweight
