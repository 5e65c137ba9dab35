#include "array.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>

#include "dtypes.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

// nanobind's own array over the same memory, which speaks DLPack, and the buffer protocol where the dtype is
// common.
nb::object export_array(nb::handle self, nb::dlpack::dtype dtype, const Shape& shape) {
  const Array& array = nb::cast<const Array&>(self);
  std::vector<size_t> sizes(shape.begin(), shape.end());
  void* data = const_cast<std::byte*>(array.view.data);
  if (array.read_only)
    return nb::cast(
        nb::ndarray<nb::array_api, nb::ro>(data, sizes.size(), sizes.data(), self, nullptr, dtype));
  return nb::cast(nb::ndarray<nb::array_api>(data, sizes.size(), sizes.data(), self, nullptr, dtype));
}

nb::object exported(nb::handle self) {
  const TensorView& view = nb::cast<const Array&>(self).view;
  return export_array(self, dlpack_dtype(view.dtype), view.shape);
}

nb::object bytes_of_array(nb::handle self) {
  const TensorView& view = nb::cast<const Array&>(self).view;
  nb::object bytes = export_array(self, dlpack_dtype(DType::kU8), {static_cast<int64_t>(view.bytes)});
  return nb::steal(PyMemoryView_FromObject(bytes.ptr()));
}

nb::object to_numpy(nb::handle self, nb::handle dtype, nb::handle copy) {
  const TensorView& view = nb::cast<const Array&>(self).view;
  nb::module_ numpy = nb::module_::import_("numpy");
  const bool in_numpy = nb::hasattr(numpy, std::string(numpy_name(view.dtype)).c_str());
  nb::object names = in_numpy ? nb::object(numpy) : nb::object(nb::module_::import_("ml_dtypes"));
  nb::object own = view.dtype == DType::kBool ? numpy.attr("bool_")
                                              : names.attr(std::string(numpy_name(view.dtype)).c_str());
  nb::object array =
      numpy.attr("frombuffer")(bytes_of_array(self), own).attr("reshape")(nb::cast(view.shape));
  if (!dtype.is_none()) return array.attr("astype")(dtype);
  return !copy.is_none() && nb::cast<bool>(copy) ? nb::object(array.attr("copy")()) : array;
}

std::string describe(const Array& array) {
  return "liveweight.Array(" + std::string(to_string(array.view.dtype)) + " " + to_string(array.view.shape) +
         ")";
}

}  // namespace

OwnedArray allocate_array(DType dtype, Shape shape) {
  const uint64_t bytes = bytes_of(dtype, static_cast<uint64_t>(element_count(shape))).value_or(0);
  auto memory = std::make_shared<std::vector<std::byte>>(bytes);
  std::byte* data = memory->data();
  return {Array{{dtype, std::move(shape), data, bytes}, memory, false}, data};
}

void bind_array(nb::module_& module) {
  nb::class_<Array>(module, "Array",
                    "A contiguous tensor in the library's memory. torch.from_dlpack(array), "
                    "numpy.asarray(array) (bf16 and\n"
                    "fp8 need ml_dtypes) and jax share its memory; memoryview(array.bytes) needs none of "
                    "them. Live tensors are\n"
                    "read-only and keep the version that they belong to.")
      .def_prop_ro(
          "dtype", [](const Array& array) { return to_string(array.view.dtype); },
          "The element type by its safetensors name: \"BF16\", \"F8_E4M3\", \"I8\".")
      .def_prop_ro(
          "shape", [](const Array& array) { return nb::tuple(nb::cast(array.view.shape)); },
          "A tuple of int.", nb::sig("def shape(self) -> tuple[int, ...]"))
      .def_prop_ro("nbytes", [](const Array& array) { return array.view.bytes; })
      .def_prop_ro("bytes", bytes_of_array, "All its bytes as a flat memoryview.",
                   nb::sig("def bytes(self) -> memoryview"))
      .def(
          "__dlpack__",
          [](nb::handle self, nb::kwargs kwargs) { return exported(self).attr("__dlpack__")(**kwargs); },
          nb::sig("def __dlpack__(self, **kwargs: object) -> object"))
      .def(
          "__dlpack_device__", [](const Array&) { return nb::make_tuple(1, 0); },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"))
      .def("__array__", to_numpy, nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none(),
           nb::sig("def __array__(self, dtype: object = None, copy: bool | None = None) -> object"))
      .def("__repr__", describe);
}

}  // namespace liveweight::python
