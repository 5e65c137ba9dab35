// liveweight._core.BuffersUpdate, for liveweight.torch only.
#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include "buffers_update.h"
#include "errors.h"
#include "model.h"
#include "source.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

// The update, and whatever its addresses point into, which goes after it.
struct Handle {
  std::vector<Source> keep;
  std::vector<Matrix> matrices;
  std::vector<std::string> names;
  BuffersUpdate update;
};

std::byte* destination(Handle& handle, const std::string& name, const char* what, nb::handle tensor,
                       DType dtype, const PartShape& shape) {
  if (shape.rows == 0) return nullptr;
  Source source = read_source(name, tensor);
  if (!source.packed.empty())
    throw Failure{
        Error{ErrorCode::kUnsupported, fmt::format("tensor {}: expected contiguous {}", name, what), {name}}};
  if (source.view.dtype != dtype || source.view.bytes != shape.bytes())
    throw Failure{
        Error{ErrorCode::kUnsupported,
              fmt::format("tensor {}: expected {} of {} [{}, {}], got {} {}", name, what, to_string(dtype),
                          shape.rows, shape.cols, to_string(source.view.dtype), to_string(source.view.shape)),
              {name}}};
  handle.keep.push_back(std::move(source));
  return const_cast<std::byte*>(handle.keep.back().view.data);
}

int64_t add_target(Handle& handle, const std::string& name, const std::string& scheme,
                   const std::string& dtype_name, int64_t rows, int64_t cols, nb::handle codes,
                   nb::handle scales, nb::handle zero_points) {
  const auto dtype = dtype_from_string(dtype_name);
  if (!dtype || !is_high_precision(*dtype))
    throw Failure{Error{ErrorCode::kWrongDtype,
                        fmt::format("tensor {}: expected BF16, F16 or F32, got {}", name, dtype_name),
                        {name}}};
  Matrix matrix{value_of(parse_matrix_scheme(scheme)), *dtype, rows, cols};
  const MatrixShape shape = shape_of(matrix.scheme, *dtype, rows, cols);
  matrix.codes = destination(handle, name, "codes", codes, shape.codes.dtype, shape.codes);
  if (shape.scales.rows > 0)
    matrix.scales = destination(handle, name, "scales", scales, shape.scales.dtype, shape.scales);
  if (shape.zero_points.rows > 0)
    matrix.zero_points =
        destination(handle, name, "zero points", zero_points, shape.zero_points.dtype, shape.zero_points);
  handle.matrices.push_back(matrix);
  handle.names.push_back(name);
  return handle.update.add_target(name, matrix);
}

bool put(Handle& handle, int64_t target, int64_t row, nb::handle tensor, bool borrowed) {
  const auto index = static_cast<size_t>(target);
  const Matrix& matrix = handle.matrices.at(index);
  Source source = read_source(handle.names[index], tensor);
  const TensorView view = source.view;
  if (view.dtype != matrix.dtype)
    throw Failure{Error{ErrorCode::kWrongDtype,
                        fmt::format("tensor {}: expected {}, got {}", handle.names[index],
                                    to_string(matrix.dtype), to_string(view.dtype)),
                        {handle.names[index]}}};
  const int64_t count = element_count(view.shape);
  const Rows rows{view.data, row, matrix.cols == 0 ? 0 : count / matrix.cols};
  borrowed = borrowed && source.packed.empty();
  if (borrowed) handle.keep.push_back(std::move(source));
  nb::gil_scoped_release released;
  return value_of(handle.update.put(target, rows, borrowed));
}

// Address ranges of the process, in order, and which are private mappings of files: those stay as they are
// for as long as they are mapped.
nb::list mappings() {
  nb::list ranges;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long from = 0, to = 0, offset = 0, inode = 0;
    char permissions[5] = {}, device[16] = {};
    int path = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx %4s %llx %15s %llu %n", &from, &to, permissions, &offset, device,
                    &inode, &path) < 6)
      continue;
    const bool file =
        inode != 0 && permissions[3] == 'p' && line.compare(static_cast<size_t>(path), 5, "/dev/") != 0;
    ranges.append(nb::make_tuple(from, to, file));
  }
  return ranges;
}

}  // namespace

void bind_buffers(nb::module_& module) {
  nb::class_<Handle>(module, "BuffersUpdate",
                     "For liveweight.torch: an update of tensors that somebody else owns.")
      .def(nb::init<>())
      .def("add_target", &add_target, nb::arg("name"), nb::arg("scheme"), nb::arg("dtype"), nb::arg("rows"),
           nb::arg("cols"), nb::arg("codes"), nb::arg("scales").none(), nb::arg("zero_points").none())
      .def("put", &put, nb::arg("target"), nb::arg("row"), nb::arg("tensor"), nb::arg("borrowed"),
           "False where all of the target must come as a whole.")
      .def(
          "take_borrowed",
          [](Handle& h, int64_t target) {
            nb::gil_scoped_release released;
            check(h.update.take_borrowed(target));
          },
          "Borrowed rows of the target are about to change.")
      .def("clear", [](Handle& h, int64_t target) { h.update.clear(target); })
      .def(
          "distrust", [](Handle& h, int64_t target) { h.update.distrust(target); },
          "Somebody else wrote into the target's buffers, which are as they were now.")
      .def("is_whole", [](const Handle& h, int64_t target) { return h.update.is_whole(target); })
      .def("touched", [](const Handle& h, int64_t target) { return h.update.touched(target); })
      .def_prop_ro("staged_bytes", [](const Handle& h) { return h.update.staged_bytes(); })
      .def(
          "prepare",
          [](Handle& h, bool partial) {
            nb::gil_scoped_release released;
            check(h.update.prepare(partial));
          },
          nb::arg("partial"))
      .def("commit", [](Handle& h) {
        nb::gil_scoped_release released;
        check(h.update.commit());
      });
  module.def("mappings", &mappings, nb::sig("def mappings() -> list[tuple[int, int, bool]]"),
             "Address ranges of the process, in order, and whether each is a private mapping of a file.");
}

}  // namespace liveweight::python
