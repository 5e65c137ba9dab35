#include "model.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "errors.h"
#include "liveweight/digest.h"
#include "liveweight/quantization_error.h"
#include "quantize/kernel_format.h"

namespace nb = nanobind;
namespace fs = std::filesystem;

namespace liveweight::python {
namespace {

nb::dict plan_dict(const ModelHandle& model) {
  const Plan& plan = model.state->live->plan();
  nb::list parameters;
  for (const PlannedParameter& parameter : plan.parameters()) {
    nb::dict entry;
    entry["name"] = parameter.name;
    entry["shape"] = parameter.shape;
    entry["scheme"] = to_string(parameter.format->scheme);
    entry["sources"] = parameter.sources;
    entry["live_bytes"] = parameter.format->bytes;
    entry["units"] = unit_count(*parameter.format);
    parameters.append(entry);
  }
  nb::dict out;
  out["hash"] = plan.hash();
  out["mode"] = std::string(to_string(plan.mode()));
  out["parameters"] = parameters;
  out["source_bytes"] = plan.source_bytes();
  out["live_bytes"] = plan.live_bytes();
  out["extra_peak_bytes"] = plan.extra_peak_bytes();
  return out;
}

ModelDigest digest_without_lock(const ModelHandle& model) {
  nb::gil_scoped_release released;
  return value_of(digest_of(*model.state->live));
}

nb::dict digests(const ModelHandle& model) {
  nb::dict out;
  for (const auto& [name, digest] : digest_without_lock(model).tensors) out[name.c_str()] = digest.hex();
  return out;
}

Result<QuantizationErrorReport> report(ModelState& state, const std::optional<fs::path>& directory) {
  LW_ASSIGN(const Snapshot snapshot, state.live->pin());
  const fs::path source = directory.value_or(state.origins.of(snapshot.version_number()).directory);
  if (source.empty()) {
    return fail(ErrorCode::kFailedState,
                "report: expected directory=..., as the current version did not come from a directory");
  }
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(source));
  return quantization_error_of(*state.live, snapshot, checkpoint, state.names);
}

nb::dict error_dict(const QuantizationError& error) {
  nb::dict out;
  out["elements"] = error.elements;
  out["relative_rms"] = error.relative_rms;
  out["largest"] = error.largest;
  return out;
}

nb::dict report_dict(const ModelHandle& model, const std::optional<fs::path>& directory) {
  QuantizationErrorReport result;
  {
    nb::gil_scoped_release released;
    result = value_of(report(*model.state, directory));
  }
  nb::dict tensors;
  for (const ParameterError& parameter : result.parameters) {
    nb::dict entry = error_dict(parameter.error);
    entry["scheme"] = to_string(parameter.scheme);
    tensors[parameter.name.c_str()] = entry;
  }
  nb::dict out;
  out["tensors"] = tensors;
  out["quantized"] = error_dict(result.quantized);
  return out;
}

}  // namespace

Result<Engine*> ModelState::shared_engine() {
  std::lock_guard lock(engine_mutex);
  if (!engine) {
    LW_ASSIGN(engine, Engine::create(*live, engine_options));
  }
  return engine.get();
}

std::string canonical_name(const ModelState& state, const std::string& name) {
  std::string canonical = value_of(state.names.canonical(name));
  return is_ignored_tensor(canonical) ? std::string() : canonical;
}

void bind_model(nb::module_& module) {
  nb::class_<Version>(module, "Version",
                      "A weight version: a number that only grows, and the caller's label.")
      .def_ro("number", &Version::number)
      .def_ro("label", &Version::label)
      .def(
          "__eq__",
          [](const Version& a, const Version& b) { return a.number == b.number && a.label == b.label; },
          nb::sig("def __eq__(self, other: object, /) -> bool"), nb::is_operator())
      .def("__repr__", [](const Version& version) {
        return fmt::format("Version({}, {:?})", version.number, version.label);
      });

  nb::class_<ModelHandle> model(
      module, "Model",
      "A quantized model whose weights can be replaced while it runs. Any thread may use it; long calls let "
      "go of the\n"
      "interpreter's lock. Every failure is a liveweight.Error and leaves the model as it was.");
  model
      .def_prop_ro(
          "version", [](const ModelHandle& m) { return m.state->live->version(); }, "The current Version.")
      .def_prop_ro("directory", [](const ModelHandle& m) { return m.state->directory.string(); })
      .def_prop_ro(
          "dtype", [](const ModelHandle& m) { return to_string(m.state->live->plan().config().dtype); },
          "The dtype that config.json says the weights have: \"BF16\", \"F16\" or \"F32\".")
      .def(
          "rollback",
          [](const ModelHandle& m) {
            nb::gil_scoped_release released;
            Version version = value_of(m.state->live->rollback());
            m.state->origins.rolled_back(version.number);
            return version;
          },
          "Makes the version before the last commit current again, under a new number. Fails with "
          "failed_state where it is\n"
          "not there any more: it goes with the next commit and, where that brought whole tensors, when an "
          "update begins or with\n"
          "catch_up; where there was none; and in the mode in_place.")
      .def_prop_ro(
          "can_roll_back", [](const ModelHandle& m) { return m.state->live->can_roll_back(); },
          "Whether the version before the last commit is there, and no update is open.")
      .def(
          "digest", [](const ModelHandle& m) { return digest_without_lock(m).model.hex(); },
          "Hash of all quantized bytes, as hex: equal to that of a fresh load of the same weights.")
      .def("digests", &digests, "The same by parameter, a dict.",
           nb::sig("def digests(self) -> dict[str, str]"))
      .def("plan", &plan_dict,
           "Where every byte of a checkpoint goes, and what a reload costs: hash, mode, parameters (name, "
           "shape, scheme,\n"
           "sources, live_bytes, units), source_bytes, live_bytes, extra_peak_bytes.",
           nb::sig("def plan(self) -> dict[str, typing.Any]"))
      .def("report", &report_dict, nb::arg("directory") = nb::none(),
           "How far the live weights are from the high-precision ones in `directory` (by default the "
           "directory that the\n"
           "current version came from; failed_state where it came from none): tensors (by name: scheme, "
           "elements, relative_rms, largest) and "
           "quantized, all\n"
           "quantized ones together. relative_rms is sqrt(sum (q - w)^2 / sum w^2).",
           nb::sig("def report(self, directory: str | os.PathLike | None = None) -> dict[str, typing.Any]"));
  bind_load(model);
  bind_update(module, model);
  bind_reload(module, model);
  bind_tensors(module, model);
  bind_generate(module, model);
}

}  // namespace liveweight::python
