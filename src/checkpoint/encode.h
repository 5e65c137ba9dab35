// Changed cells to the payloads of slime's delta formats, before compression.
#pragma once

#include "checkpoint/zstd_blob.h"
#include "liveweight/delta.h"

namespace liveweight {

// New ^ old, over all bytes, by all threads.
Blob encode_xor(const TensorView& old, const TensorView& updated);

// Count, positions of changed bytes, new bytes. kUnsupported where a position does not fit its 32 bits.
Result<std::vector<std::byte>> encode_overwrite(const TensorDelta& delta, const TensorView& old);

}  // namespace liveweight
