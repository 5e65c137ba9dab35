#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "errors.h"
#include "model.h"
#include "quantize/kernel_format.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

// Holds a version for as long as a view of it lives, and the model for as long as the version.
struct Pin {
  std::shared_ptr<ModelState> state;
  Snapshot snapshot;  // goes before the model
};

struct LiveTensor {
  std::string name;
  std::string scheme;
  Shape shape;
  uint64_t version = 0;
  Array data;
  std::optional<Array> scale;
  std::optional<Array> zero_point;
};

Array part_of(const Part& part, const PlannedParameter& parameter, const std::byte* slot,
              std::shared_ptr<const Pin> pin) {
  const int64_t element_bytes = bits_of(part.dtype) / 8;
  Shape shape = parameter.shape;
  if (shape.size() > 1 || parameter.format->scheme.quantizes()) {
    const int64_t cols = part.row_bytes / element_bytes;
    const bool stacked = parameter.format->matrices > 1 || parameter.shape.size() == 3;
    shape = stacked ? Shape{parameter.format->matrices, part.rows, cols} : Shape{part.rows, cols};
  }
  return {{part.dtype, std::move(shape), slot + part.offset, part.bytes}, std::move(pin), true};
}

LiveTensor make_tensor(const PlannedParameter& parameter, size_t index,
                       const std::shared_ptr<const Pin>& pin) {
  const KernelFormat& format = *parameter.format;
  const std::byte* slot = pin->snapshot.table().slots[index];
  LiveTensor tensor{parameter.name,
                    to_string(format.scheme),
                    parameter.shape,
                    pin->snapshot.version_number(),
                    part_of(format.data, parameter, slot, pin),
                    {},
                    {}};
  if (format.scale.bytes > 0) tensor.scale = part_of(format.scale, parameter, slot, pin);
  if (format.zero_point.bytes > 0) tensor.zero_point = part_of(format.zero_point, parameter, slot, pin);
  return tensor;
}

std::shared_ptr<const Pin> pin(const ModelHandle& model) {
  nb::gil_scoped_release released;
  return std::make_shared<const Pin>(Pin{model.state, value_of(model.state->live->pin())});
}

std::vector<LiveTensor> tensors(const ModelHandle& model) {
  const auto pinned = pin(model);
  const auto& parameters = model.state->live->plan().parameters();
  std::vector<LiveTensor> all;
  for (size_t i = 0; i < parameters.size(); ++i) all.push_back(make_tensor(parameters[i], i, pinned));
  return all;
}

LiveTensor tensor(const ModelHandle& model, const std::string& name) {
  const auto& parameters = model.state->live->plan().parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name == name) return make_tensor(parameters[i], i, pin(model));
  }
  throw Failure{Error{
      ErrorCode::kUnknownTensor, fmt::format("tensor {}: expected a parameter of the plan", name), {name}}};
}

}  // namespace

void bind_tensors(nb::module_& module, nb::class_<ModelHandle>& model) {
  nb::class_<LiveTensor>(
      module, "LiveTensor",
      "A parameter as kernels read it, at one version. Its arrays are read-only views that keep that "
      "version:\n"
      "the update after the next waits for them (reader_timeout), so let go of them in time.")
      .def_ro("name", &LiveTensor::name)
      .def_ro("scheme", &LiveTensor::scheme)
      .def_prop_ro(
          "shape", [](const LiveTensor& t) { return nb::tuple(nb::cast(t.shape)); },
          "Of the parameter, in elements.", nb::sig("def shape(self) -> tuple[int, ...]"))
      .def_ro("version", &LiveTensor::version, "The version's number.")
      .def_ro("data", &LiveTensor::data,
              "Codes: I8, F8_E4M3, or U8 with two int4 codes (code + 8; the even column is the low nibble; "
              "rows padded to 4\n"
              "bytes); or the elements themselves where the scheme is none.")
      .def_ro("scale", &LiveTensor::scale,
              "Scales, F32 or the checkpoint's dtype; None where the scheme has none.")
      .def_ro("zero_point", &LiveTensor::zero_point, "Zero points, or None.")
      .def("__repr__", [](const LiveTensor& t) {
        return fmt::format("LiveTensor({} {} {} of version {})", t.name, to_string(t.shape), t.scheme,
                           t.version);
      });
  model
      .def("tensors", &tensors,
           "Every parameter of the current version, a list of LiveTensor in the plan's order.")
      .def("tensor", &tensor, nb::arg("name"), "One parameter of the current version, by the plan's name.");
}

}  // namespace liveweight::python
