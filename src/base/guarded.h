// Exceptions become errors at the library's border: memory can end anywhere, and what a caller hands in may
// throw.
#pragma once

#include "liveweight/error.h"

namespace liveweight {

// Of the exception being handled. Where memory ended it takes none.
Error error_of_exception() noexcept;

// What `body` returns (a Status or a Result), or the error of what it throws.
template <typename Body>
auto guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    return tl::unexpected(error_of_exception());
  }
}

}  // namespace liveweight
