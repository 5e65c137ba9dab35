#include "liveweight/error.h"

#include <utility>

namespace liveweight {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kBadCheckpoint:
      return "bad_checkpoint";
    case ErrorCode::kUnknownTensor:
      return "unknown_tensor";
    case ErrorCode::kMissingTensor:
      return "missing_tensor";
    case ErrorCode::kDuplicateTensor:
      return "duplicate_tensor";
    case ErrorCode::kWrongShape:
      return "wrong_shape";
    case ErrorCode::kWrongDtype:
      return "wrong_dtype";
    case ErrorCode::kNonFinite:
      return "non_finite";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kStaleVersion:
      return "stale_version";
    case ErrorCode::kDigestMismatch:
      return "digest_mismatch";
    case ErrorCode::kFailedState:
      return "failed_state";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kAborted:
      return "aborted";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

tl::unexpected<Error> fail(ErrorCode code, std::string message, std::vector<std::string> names) {
  return tl::unexpected(Error{code, std::move(message), std::move(names)});
}

}  // namespace liveweight
