// How long a plan takes to compile for a mixture of experts of very many checkpoint tensors.
#pragma once

#include <cstdint>

#include "liveweight/error.h"

namespace liveweight::bench {

struct PlanFigures {
  int64_t tensors = 0;
  int64_t parameters = 0;
  double seconds = 0;  // median
};

// A Qwen3-MoE of `layers` layers of `experts` experts: 3 x layers x experts checkpoint tensors and some.
Result<PlanFigures> measure_plan(int64_t layers, int64_t experts, const std::string& scheme, int rounds);

}  // namespace liveweight::bench
