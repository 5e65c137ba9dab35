// Tensors that Python hands in: torch, numpy with ml_dtypes, anything with DLPack or the buffer protocol.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>
#include <vector>

#include "liveweight/tensor.h"
#include "shape.h"

namespace liveweight::python {

// A tensor's contiguous bytes. `keep` holds what owns them; where the tensor is not contiguous its elements
// are copied to `packed`, and `keep` holds nothing. Made, moved and destroyed with the interpreter's lock.
struct Source {
  TensorView view;
  nanobind::object keep;
  std::vector<std::byte> packed;
};

// How raw bytes are to be read: the safetensors name of an element type, and a shape.
struct ReadAs {
  std::optional<std::string> dtype;
  std::optional<Shape> shape;
};

// Throws Failure with kWrongDtype, kWrongShape or kInvalidArgument; messages name `name`. Data of another
// device is fetched where the tensor is torch's, and refused otherwise.
Source read_source(const std::string& name, nanobind::handle tensor, const ReadAs& as = {});

}  // namespace liveweight::python
