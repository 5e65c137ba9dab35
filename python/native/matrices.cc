// liveweight._core.quantize and dequantize: one matrix, outside any model.
#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <utility>

#include "array.h"
#include "bands.h"
#include "errors.h"
#include "live/parallel_jobs.h"
#include "model.h"
#include "quantize/kernel_format.h"
#include "quantize/quantize.h"
#include "source.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

[[noreturn]] void refuse(ErrorCode code, std::string sentence) {
  throw Failure{Error{code, std::move(sentence), {}}};
}

Array allocate_part(const PartShape& part, std::byte*& data) {
  OwnedArray owned = allocate_array(part.dtype, {part.rows, part.cols});
  data = owned.data;
  return std::move(owned.array);
}

nb::tuple quantize(nb::handle tensor, const std::string& scheme_name) {
  const Scheme scheme = value_of(parse_matrix_scheme(scheme_name));
  const Source source = read_source("tensor", tensor);
  const TensorView& view = source.view;
  if (!is_high_precision(view.dtype))
    refuse(ErrorCode::kWrongDtype,
           fmt::format("tensor: expected BF16, F16 or F32, got {}", to_string(view.dtype)));
  if (view.shape.size() != 2)
    refuse(ErrorCode::kWrongShape,
           fmt::format("tensor: expected [rows, cols], got {}", to_string(view.shape)));
  const MatrixShape shape = shape_of(scheme, view.dtype, view.shape[0], view.shape[1]);
  Matrix matrix{scheme, view.dtype, view.shape[0], view.shape[1]};
  Array codes = allocate_part(shape.codes, matrix.codes);
  Array scales = allocate_part(shape.scales, matrix.scales);
  Array zero_points = allocate_part(shape.zero_points, matrix.zero_points);
  {
    nb::gil_scoped_release released;
    check(quantize_matrix("tensor", matrix, view.data));
  }
  if (!scheme.quantizes()) return nb::make_tuple(std::move(codes));
  if (shape.zero_points.rows == 0) return nb::make_tuple(std::move(codes), std::move(scales));
  return nb::make_tuple(std::move(codes), std::move(scales), std::move(zero_points));
}

void expect(const char* what, const TensorView& view, DType dtype, const PartShape& shape) {
  if (view.dtype == dtype && view.bytes == shape.bytes()) return;
  refuse(ErrorCode::kWrongShape,
         fmt::format("{}: expected {} [{}, {}], got {} {}", what, to_string(dtype), shape.rows, shape.cols,
                     to_string(view.dtype), to_string(view.shape)));
}

// Which dtype the source had, as far as the layout depends on it.
DType source_dtype(const Scheme& scheme, const TensorView& scales, const std::optional<Source>& zeros,
                   int64_t rows, int64_t cols) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const MatrixShape shape = shape_of(scheme, dtype, rows, cols);
    if (shape.scales.dtype == scales.dtype && (!zeros || shape.zero_points.dtype == zeros->view.dtype))
      return dtype;
  }
  refuse(ErrorCode::kWrongDtype,
         fmt::format("scales: {} is not a dtype that {} has", to_string(scales.dtype), to_string(scheme)));
}

Array dequantize(nb::handle codes, nb::handle scales, nb::handle zero_points,
                 const std::string& scheme_name) {
  const Scheme scheme = value_of(parse_matrix_scheme(scheme_name));
  if (!scheme.quantizes())
    refuse(ErrorCode::kInvalidArgument, "scheme: expected one that quantizes, got none");
  const Source code = read_source("codes", codes), scale = read_source("scales", scales);
  std::optional<Source> zero;
  if (!zero_points.is_none()) zero = read_source("zero_points", zero_points);
  if (code.view.shape.size() != 2)
    refuse(ErrorCode::kWrongShape,
           fmt::format("codes: expected [rows, cols], got {}", to_string(code.view.shape)));
  const int64_t rows = code.view.shape[0], cols = code.view.shape[1];
  const DType dtype = source_dtype(scheme, scale.view, zero, rows, cols);
  const MatrixShape shape = shape_of(scheme, dtype, rows, cols);
  expect("codes", code.view, shape.codes.dtype, shape.codes);
  expect("scales", scale.view, shape.scales.dtype, shape.scales);
  if (zero.has_value() != (shape.zero_points.rows > 0))
    refuse(ErrorCode::kInvalidArgument,
           fmt::format("zero_points: {} {}", to_string(scheme), zero ? "has none" : "needs them"));
  if (zero) expect("zero_points", zero->view, shape.zero_points.dtype, shape.zero_points);

  nb::gil_scoped_release released;
  const KernelFormat format =
      make_unpacked_format(scheme, dtype, {1, cols, 0, cols, {Segment{0, rows, 0, 0}}});
  std::vector<std::byte> slot(format.bytes);
  std::memcpy(slot.data() + format.data.offset, code.view.data, code.view.bytes);
  std::memcpy(slot.data() + format.scale.offset, scale.view.data, scale.view.bytes);
  if (zero) std::memcpy(slot.data() + format.zero_point.offset, zero->view.data, zero->view.bytes);
  OwnedArray out = allocate_array(DType::kF32, {rows, cols});
  check(run_jobs(rows, [&](int64_t row) -> Status {
    dequantize_row(format, slot.data(), 0, row, reinterpret_cast<float*>(out.data) + row * cols);
    return {};
  }));
  return std::move(out.array);
}

}  // namespace

void bind_matrices(nb::module_& module) {
  module.def("quantize", &quantize, nb::arg("tensor"), nb::arg("scheme"),
             nb::sig("def quantize(tensor: typing.Any, scheme: str) -> tuple[Array, ...]"),
             "Codes, scales and, where the scheme has them, zero points of a matrix.");
  module.def("dequantize", &dequantize, nb::arg("codes"), nb::arg("scales"), nb::arg("zero_points").none(),
             nb::arg("scheme"),
             nb::sig("def dequantize(codes: typing.Any, scales: typing.Any, zero_points: typing.Any | None, "
                     "scheme: str) -> Array"),
             "What a kernel multiplies with, in fp32.");
}

}  // namespace liveweight::python
