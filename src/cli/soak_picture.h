// The picture of a soak: latency of steps, updates, and memory over time.
#pragma once

#include "bench/soak.h"
#include "plot/chart.h"

namespace liveweight::cli {

plot::Chart picture_of(const bench::SoakReport& report);

}  // namespace liveweight::cli
