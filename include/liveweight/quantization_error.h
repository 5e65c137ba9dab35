// How far live weights are from the high-precision weights that they were quantized from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/live_model.h"
#include "liveweight/model.h"
#include "liveweight/scheme.h"

namespace liveweight {

// Of w, the checkpoint's elements, and q, what a kernel multiplies with instead.
struct QuantizationError {
  int64_t elements = 0;
  double relative_rms = 0;  // sqrt(sum (q - w)^2 / sum w^2); 0 where all w are
  double largest = 0;       // max |q - w|
};

struct ParameterError {
  std::string name;
  Scheme scheme;
  QuantizationError error;
};

struct QuantizationErrorReport {
  std::vector<ParameterError> parameters;  // in the plan's order
  QuantizationError quantized;             // of all parameters whose scheme quantizes, together
};

// Compares the version that the snapshot pins with `checkpoint`, which must be what that version was loaded
// from: its tensors are checked as an update checks them. kUnsupported where the checkpoint is quantized
// itself, for then nobody knows the high-precision weights. Runs on all threads.
Result<QuantizationErrorReport> quantization_error_of(const LiveModel& model, const Snapshot& snapshot,
                                                      const Checkpoint& checkpoint,
                                                      const NameMap& names = {});

}  // namespace liveweight
