// Payloads of the delta formats to changed cells. Errors do not name the file; the caller adds it.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/zstd_blob.h"
#include "liveweight/delta.h"

namespace liveweight {

Result<TensorDelta> decode_xor(const std::string& name, const TensorView& base, const Blob& difference);
Result<TensorDelta> decode_overwrite(const std::string& name, const TensorView& base, const Blob& blob);
// Views of `indices` and `values` where they are usable as they are, which `owner` keeps alive; else copies.
Result<TensorDelta> decode_indices(const std::string& name, const TensorView& base, const TensorView& indices,
                                   const TensorView& values, std::shared_ptr<const void> owner);

}  // namespace liveweight
