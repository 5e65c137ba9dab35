// The extension module liveweight._core.
#include <nanobind/nanobind.h>

#include "array.h"
#include "errors.h"
#include "model.h"

NB_MODULE(_core, module) {
  using namespace liveweight::python;
  bind_errors(module);
  bind_array(module);
  bind_model(module);
  bind_matrices(module);
  bind_deltas(module);
  bind_buffers(module);
}
