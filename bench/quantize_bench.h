// Quantizers on one large matrix in memory against a loop that reads and writes as many bytes.
#pragma once

#include <cstdint>
#include <string>

#include "liveweight/dtype.h"
#include "liveweight/error.h"

namespace liveweight::bench {

struct QuantizeFigures {
  std::string scheme;
  DType source = DType::kBF16;
  uint64_t source_bytes = 0;
  uint64_t live_bytes = 0;
  double seconds = 0;  // medians
  double limit_seconds = 0;
  double share = 0;  // of the limit's speed, the median of the rounds'
};

// All threads, a matrix of 4096 columns. A scheme of one scale for all of it also looks for the maximum.
Result<QuantizeFigures> measure_quantize(const std::string& scheme, DType source, int rounds);

}  // namespace liveweight::bench
