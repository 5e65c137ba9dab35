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

struct LoadArguments {
  fs::path directory;
  std::optional<std::string> quant;
  std::optional<std::string> quant_config;  // JSON text
  std::pair<int64_t, int64_t> tp{1, 0};
  std::string mode;
  std::optional<std::string> name_map;
  std::string version;
  EngineOptions engine;
};

Result<std::optional<QuantizationConfig>> asked_quantization(const LoadArguments& arguments) {
  if (arguments.quant && arguments.quant_config)
    return fail(ErrorCode::kInvalidArgument, "expected one of quant and quant_config, got both");
  if (arguments.quant_config) {
    LW_ASSIGN(QuantizationConfig config, QuantizationConfig::parse(*arguments.quant_config));
    return config;
  }
  if (!arguments.quant) return std::nullopt;
  LW_ASSIGN(const Scheme scheme, parse_scheme(*arguments.quant));
  return QuantizationConfig::uniform(scheme);
}

Result<std::shared_ptr<ModelState>> load(const LoadArguments& arguments) {
  auto state = std::make_shared<ModelState>();
  state->directory = arguments.directory;
  state->engine_options = arguments.engine;
  if (arguments.name_map) {
    LW_ASSIGN(state->names, NameMap::parse(*arguments.name_map));
  }
  LoadOptions options;
  LW_ASSIGN(options.mode, parse_commit_mode(arguments.mode));
  LW_ASSIGN(const auto asked, asked_quantization(arguments));
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(arguments.directory, state->names));
  LW_ASSIGN(options.quantization, choose_quantization(opened, asked));
  options.tensor_parallel = {arguments.tp.first, arguments.tp.second};
  options.names = state->names;
  options.label = arguments.version;
  LW_ASSIGN(state->live, load_model(opened, options));
  if (Tokenizer::present(arguments.directory)) {
    LW_ASSIGN(state->tokenizer, Tokenizer::load(arguments.directory));
  }
  state->came_from(state->live->version().number, arguments.directory);
  return state;
}

ModelHandle load_handle(const fs::path& directory, std::optional<std::string> quant,
                        std::optional<std::string> quant_config, std::pair<int64_t, int64_t> tp,
                        std::string mode, std::optional<std::string> name_map,
                        std::optional<std::string> version, int64_t max_sequences, int64_t max_tokens) {
  LoadArguments arguments{directory,
                          std::move(quant),
                          std::move(quant_config),
                          tp,
                          std::move(mode),
                          std::move(name_map),
                          version.value_or(directory.string()),
                          {}};
  arguments.engine.max_sequences = max_sequences;
  arguments.engine.max_tokens = max_tokens;
  if (arguments.engine.max_sequences < 1)
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("max_sequences: expected 1 or more, got {}", max_sequences),
                        {}}};
  nb::gil_scoped_release released;
  return {value_of(load(arguments))};
}

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
  fs::path source;
  if (directory) {
    source = *directory;
  } else {
    std::lock_guard lock(state.mutex);
    if (state.source_version != snapshot.version_number())
      return fail(ErrorCode::kFailedState,
                  "report: expected directory=..., as the current version did not come from a directory");
    source = state.source_directory;
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

void ModelState::came_from(uint64_t version, const fs::path& from) {
  std::lock_guard lock(mutex);
  source_version = version;
  source_directory = from;
}

Result<Engine*> ModelState::shared_engine() {
  std::lock_guard lock(mutex);
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
      .def_static("load", &load_handle, nb::arg("directory"), nb::kw_only(), nb::arg("quant") = nb::none(),
                  nb::arg("quant_config") = nb::none(), nb::arg("tp") = std::pair<int64_t, int64_t>(1, 0),
                  nb::arg("mode") = "flip", nb::arg("name_map") = nb::none(), nb::arg("version") = nb::none(),
                  nb::arg("max_sequences") = 8, nb::arg("max_tokens") = 0,
                  "Loads a Hugging Face directory, quantizing it on the way.\n\n"
                  "quant: a scheme for all linear layers, such as \"fp8_per_block\" or "
                  "\"int4_per_group:64@torchao\";\n"
                  "quant_config: JSON text of a configuration instead; with neither, what config.json says.\n"
                  "tp: (size, rank) in the tensor-parallel group. mode: \"flip\", \"copy\" or \"in_place\".\n"
                  "name_map: JSON list of [regular expression, replacement] for the names of tensors.\n"
                  "version: the label of this version; the directory by default.\n"
                  "max_sequences, max_tokens: of `generate`: requests that run at a time; tokens of a prompt "
                  "and its output\n"
                  "(0: what the model allows, at most 2048).")
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
            return value_of(m.state->live->rollback());
          },
          "Makes the version before the last commit current again, under a new number. Fails with "
          "failed_state where an\n"
          "update has begun since then, where there was none, and in the mode in_place.")
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
           "current version came from): tensors (by name: scheme, elements, relative_rms, largest) and "
           "quantized, all\n"
           "quantized ones together. relative_rms is sqrt(sum (q - w)^2 / sum w^2).",
           nb::sig("def report(self, directory: str | os.PathLike | None = None) -> dict[str, typing.Any]"));
  bind_update(module, model);
  bind_tensors(module, model);
  bind_generate(module, model);
}

}  // namespace liveweight::python
