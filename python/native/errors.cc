#include "errors.h"

#include <nanobind/stl/string.h>

#include <string>

namespace nb = nanobind;

namespace liveweight::python {

void bind_errors(nb::module_& module) {
  nb::handle type = PyErr_NewExceptionWithDoc(
      "liveweight.Error",
      "What went wrong, in one sentence that names what was expected and what came.\n\n"
      "code: the kind of error, as in C++ and JSON: \"wrong_shape\", \"missing_tensor\", \"busy\", ...\n"
      "names: the tensors, files or fields involved, a list of str.",
      PyExc_Exception, nullptr);
  module.attr("Error") = nb::steal(type);
  nb::register_exception_translator(
      [](const std::exception_ptr& raised, void* error_type) {
        try {
          std::rethrow_exception(raised);
        } catch (const Failure& failure) {
          const Error& error = failure.error;
          nb::handle type(static_cast<PyObject*>(error_type));
          nb::object exception = type(error.message);
          exception.attr("code") = std::string(to_string(error.code));
          nb::list names;
          for (const std::string& name : error.names) names.append(name);
          exception.attr("names") = names;
          PyErr_SetObject(type.ptr(), exception.ptr());
        }
      },
      type.ptr());
}

}  // namespace liveweight::python
