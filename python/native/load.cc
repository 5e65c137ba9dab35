// Model.load.
#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>

#include <utility>
#include <variant>

#include "errors.h"
#include "model.h"

namespace nb = nanobind;
namespace fs = std::filesystem;

namespace liveweight::python {
namespace {

using MirrorArgument = std::variant<bool, fs::path>;  // whether in memory, or where on disk

struct LoadArguments {
  fs::path directory;
  std::optional<std::string> quant;
  std::optional<std::string> quant_config;  // JSON text
  std::pair<int64_t, int64_t> tp{1, 0};
  std::string mode;
  std::optional<std::string> name_map;
  std::optional<std::string> version;
  MirrorArgument mirror{false};
  bool resume = false;
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

// Null where none is asked for.
Result<std::shared_ptr<Mirror>> open_mirror(const LoadArguments& arguments, const ModelDirectory& directory,
                                            const NameMap& names) {
  if (const auto* path = std::get_if<fs::path>(&arguments.mirror)) return Mirror::open(*path);
  if (arguments.resume)
    return fail(ErrorCode::kInvalidArgument, "resume: expected mirror=..., the directory to go on from");
  if (!std::get<bool>(arguments.mirror)) return nullptr;
  return Mirror::in_memory(directory.checkpoint, names.as_function());
}

// The checkpoint's own version, or the one that it is given; may be empty.
Result<std::string> name_of(const LoadArguments& arguments, const ModelDirectory& directory) {
  LW_ASSIGN(std::string name, version_of(directory.checkpoint));
  return name.empty() ? arguments.version.value_or("") : name;
}

// The first version, from the directory; the mirror holds it, too.
Status load_first(ModelState& state, const LoadArguments& arguments, const ModelDirectory& directory,
                  LoadOptions options, const std::shared_ptr<Mirror>& mirror) {
  options.label = arguments.version.value_or(arguments.directory.string());
  LW_ASSIGN(std::string name, name_of(arguments, directory));
  LW_ASSIGN(state.live, load_model(directory, options));
  if (std::holds_alternative<fs::path>(arguments.mirror)) {
    LW_TRY(mirror_checkpoint(*state.live, mirror, directory.checkpoint, state.names, name));
  } else if (mirror) {
    LW_TRY(state.live->attach_mirror(mirror));
  }
  state.origins.committed({state.live->version().number, std::move(name), arguments.directory, {}});
  return {};
}

// The first version, from what the mirror holds.
Status load_mirrored(ModelState& state, const LoadArguments& arguments, const ModelDirectory& directory,
                     LoadOptions options, const std::shared_ptr<Mirror>& mirror) {
  LW_ASSIGN(const std::string name, name_of(arguments, directory));
  if (!name.empty() && name == mirror->origin()) {
    LW_TRY(mirror->check_origin(directory.checkpoint, state.names.as_function()));
  }
  LW_ASSIGN(const ModelDirectory mirrored, with_mirrored_weights(directory, *mirror));
  options.names = {};
  options.label = arguments.version.value_or(mirror->version());
  LW_ASSIGN(state.live, load_model(mirrored, options));
  LW_TRY(state.live->attach_mirror(mirror));
  state.origins.committed({state.live->version().number, mirror->version(), {}, {}});
  return {};
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
  LW_ASSIGN(const ModelDirectory directory, open_model_directory(arguments.directory, state->names));
  LW_ASSIGN(options.quantization, choose_quantization(directory, asked));
  options.tensor_parallel = {arguments.tp.first, arguments.tp.second};
  options.names = state->names;
  LW_ASSIGN(const auto mirror, open_mirror(arguments, directory, state->names));
  const bool resumes = arguments.resume && !mirror->empty();
  LW_TRY((resumes ? load_mirrored : load_first)(*state, arguments, directory, options, mirror));
  if (Tokenizer::present(arguments.directory)) {
    LW_ASSIGN(state->tokenizer, Tokenizer::load(arguments.directory));
  }
  return state;
}

ModelHandle load_handle(const fs::path& directory, std::optional<std::string> quant,
                        std::optional<std::string> quant_config, std::pair<int64_t, int64_t> tp,
                        std::string mode, std::optional<std::string> name_map,
                        std::optional<std::string> version, std::optional<MirrorArgument> mirror, bool resume,
                        int64_t max_sequences, int64_t max_tokens, const std::string& activations) {
  LoadArguments arguments{
      directory,           std::move(quant),   std::move(quant_config),           tp,     std::move(mode),
      std::move(name_map), std::move(version), std::move(mirror).value_or(false), resume, {}};
  arguments.engine.max_sequences = max_sequences;
  arguments.engine.max_tokens = max_tokens;
  arguments.engine.activations = value_of(parse_activations(activations));
  if (arguments.engine.max_sequences < 1)
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("max_sequences: expected 1 or more, got {}", max_sequences),
                        {}}};
  nb::gil_scoped_release released;
  return {value_of(load(arguments))};
}

}  // namespace

void bind_load(nb::class_<ModelHandle>& model) {
  model.def_static(
      "load", &load_handle, nb::arg("directory"), nb::kw_only(), nb::arg("quant") = nb::none(),
      nb::arg("quant_config") = nb::none(), nb::arg("tp") = std::pair<int64_t, int64_t>(1, 0),
      nb::arg("mode") = "flip", nb::arg("name_map") = nb::none(), nb::arg("version") = nb::none(),
      nb::arg("mirror") = nb::none(), nb::arg("resume") = false, nb::arg("max_sequences") = 8,
      nb::arg("max_tokens") = 0, nb::arg("activations") = "fp32",
      "Loads a Hugging Face directory, quantizing it on the way.\n\n"
      "quant: a scheme for all linear layers, such as \"fp8_per_block\" or \"int4_per_group:64@torchao\";\n"
      "quant_config: JSON text of a configuration instead; with neither, what config.json says.\n"
      "tp: (size, rank) in the tensor-parallel group. mode: \"flip\", \"copy\" or \"in_place\".\n"
      "name_map: JSON list of [regular expression, replacement] for the names of tensors.\n"
      "version: the label of this version; the directory by default.\n"
      "mirror: where deltas look up what they do not carry: a directory that will hold a copy of the "
      "high-precision weights\n"
      "(made where it is not there, replaced where it holds others), or True for the directory's own files, "
      "which must stay\n"
      "and whose changed pages take memory. resume: load what the mirror's directory holds, after a "
      "restart, where it holds\n"
      "anything; a rank's process shares another's mirror that way.\n"
      "max_sequences, max_tokens: of `generate`: requests that run at a time; tokens of a prompt and its "
      "output (0: what the\n"
      "model allows, at most 2048).\n"
      "activations: of `generate`: \"fp32\", or \"int8_per_token\", which quantizes those of linear layers "
      "with "
      "int8 or int4 weights\n"
      "while they run: faster, and other numbers.",
      nb::sig("def load(directory: str | os.PathLike, *, quant: str | None = None, quant_config: str | None "
              "= None, tp: tuple[int, int] = (1, 0), mode: str = 'flip', name_map: str | None = None, "
              "version: str | None = None, mirror: str | os.PathLike | bool | None = None, resume: bool = "
              "False, max_sequences: int = 8, max_tokens: int = 0, activations: str = 'fp32') -> Model"));
}

}  // namespace liveweight::python
