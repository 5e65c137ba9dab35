// Tensors as a soak hands them over: in pieces, or wrong.
#pragma once

#include <vector>

#include "bench/soak_versions.h"
#include "liveweight/update.h"

namespace liveweight::bench {

// Copies that are given away after each call: up to four runs of the flat tensor, in any order.
Status put_in_runs(Update& update, const CheckpointTensor& tensor, Random& random);

// The same data with its first dimension one shorter.
TensorView without_a_row(TensorView view);

// A copy in `bytes`, one of whose elements is not a number.
TensorView with_nan(TensorView view, std::vector<std::byte>& bytes, Random& random);

}  // namespace liveweight::bench
