// Memory that Python may look at: liveweight.Array.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "liveweight/tensor.h"
#include "shape.h"

namespace liveweight::python {

// A contiguous tensor that keeps its owner (a pin on a version, or a buffer of its own) alive.
struct Array {
  TensorView view;
  std::shared_ptr<const void> owner;
  bool read_only = true;
};

// An array of its own memory, which `fill` may still write.
struct OwnedArray {
  Array array;
  std::byte* data = nullptr;
};
OwnedArray allocate_array(DType dtype, Shape shape);

void bind_array(nanobind::module_& module);

}  // namespace liveweight::python
