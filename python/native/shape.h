// A shape is a sequence of int to Python, and a list where it comes from here. Include it wherever one goes
// through nanobind.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <span>
#include <vector>

#include "liveweight/tensor.h"

template <>
struct nanobind::detail::type_caster<liveweight::Shape> {
  using Extents = make_caster<std::vector<int64_t>>;
  NB_TYPE_CASTER(liveweight::Shape, Extents::Name)

  bool from_python(handle source, uint8_t flags, cleanup_list* cleanup) noexcept {
    Extents extents;
    if (!extents.from_python(source, flags, cleanup)) return false;
    value = liveweight::Shape(std::span<const int64_t>(extents.value));
    return true;
  }
  static handle from_cpp(const liveweight::Shape& shape, rv_policy policy, cleanup_list* cleanup) noexcept {
    return Extents::from_cpp(std::vector<int64_t>(shape.begin(), shape.end()), policy, cleanup);
  }
};
