// Errors of the library as Python exceptions: liveweight.Error, with `code` and `names`.
#pragma once

#include <nanobind/nanobind.h>

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

void bind_errors(nanobind::module_& module);

}  // namespace liveweight::python
