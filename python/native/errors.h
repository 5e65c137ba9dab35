// Errors of the library as Python exceptions: liveweight.Error, with `code` and `names`.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <optional>
#include <utility>

#include "liveweight/error.h"

namespace liveweight::python {

// Carries an Error through C++ frames to where it becomes a liveweight.Error.
struct Failure {
  Error error;
};

template <typename T>
T value_of(Result<T> result) {
  if (!result) throw Failure{std::move(result).error()};
  return std::move(*result);
}

inline void check(Status status) {
  if (!status) throw Failure{std::move(status).error()};
}

// Of what fails once and for all, so that an exception that somebody swallows is not forgotten. Held by one
// Python object and used with the interpreter's lock.
class FirstError {
 public:
  // Throws the first error where there was one; what `body` throws is that from now on.
  template <typename Body>
  auto attempt(const Body& body) {
    if (error_) throw Failure{*error_};
    try {
      return body();
    } catch (const Failure& failure) {
      error_ = failure.error;
      throw;
    } catch (const std::exception& other) {
      error_ = Error{ErrorCode::kInvalidArgument, other.what(), {}};
      throw;
    }
  }

 private:
  std::optional<Error> error_;
};

void bind_errors(nanobind::module_& module);

}  // namespace liveweight::python
