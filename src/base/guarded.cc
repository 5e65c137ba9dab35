#include "base/guarded.h"

#include <exception>
#include <new>

namespace liveweight {

Error error_of_exception() noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
    } catch (const std::exception& exception) {
      return {ErrorCode::kInternal, exception.what(), {}};
    } catch (...) {
      return {ErrorCode::kInternal, "an exception that is no std::exception", {}};
    }
  } catch (...) {
    // Not even the message found room.
  }
  return {ErrorCode::kResourceExhausted, "out of memory", {}};  // short enough to need no allocation
}

}  // namespace liveweight
