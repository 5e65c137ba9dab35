#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cmath>
#include <utility>

#include "errors.h"
#include "model.h"
#include "source.h"

namespace nb = nanobind;
namespace fs = std::filesystem;

namespace liveweight::python {
namespace {

struct UpdateHandle {
  std::shared_ptr<ModelState> state;
  Update update;
  std::optional<UpdateReport> report;
};

using RegionArgument = std::pair<Shape, Shape>;

Digest parse_digest(const std::string& hex) {
  Digest digest;
  bool good = hex.size() == 2 * digest.bytes.size();
  for (size_t i = 0; good && i < digest.bytes.size(); ++i) {
    const std::string pair = hex.substr(2 * i, 2);
    good = pair.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    if (good) digest.bytes[i] = static_cast<uint8_t>(std::stoi(pair, nullptr, 16));
  }
  if (!good)
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("expected_digest: expected 32 hex digits, got {}", hex),
                        {}}};
  return digest;
}

UpdateHandle begin(const ModelHandle& model, std::string version, std::vector<std::string> scope,
                   std::optional<uint64_t> base_version, std::optional<std::string> expected_digest,
                   uint64_t staging_budget_bytes, double reader_timeout) {
  UpdateOptions options;
  options.label = std::move(version);
  options.scope = std::move(scope);
  options.base_version = base_version;
  options.staging_budget_bytes = staging_budget_bytes;
  if (expected_digest) options.expected_digest = parse_digest(*expected_digest);
  if (!(reader_timeout >= 0 && reader_timeout < 1e9))
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("reader_timeout: expected seconds, got {}", reader_timeout),
                        {}}};
  options.reader_timeout = std::chrono::milliseconds(std::llround(reader_timeout * 1e3));
  nb::gil_scoped_release released;
  return {model.state, value_of(model.state->live->begin_update(std::move(options))), {}};
}

Status put_source(Update& update, const std::string& name, const TensorView& view,
                  std::optional<int64_t> offset, const std::optional<RegionArgument>& region) {
  if (offset) return update.put_flat(name, view, *offset);
  if (region) return update.put(name, view, Region{region->first, region->second});
  return update.put(name, view);
}

void put(UpdateHandle& handle, const std::string& name, nb::handle tensor, std::optional<int64_t> offset,
         const std::optional<RegionArgument>& region, std::optional<std::string> dtype,
         std::optional<Shape> shape) {
  if (offset && region)
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("tensor {}: expected one of offset and region, got both", name),
                        {name}}};
  const Source source = read_source(name, tensor, {std::move(dtype), std::move(shape)});
  nb::gil_scoped_release released;
  const std::string canonical = canonical_name(*handle.state, name);
  if (canonical.empty()) return;
  check(put_source(handle.update, canonical, source.view, offset, region));
}

UpdateReport commit(UpdateHandle& handle) {
  {
    nb::gil_scoped_release released;
    handle.report = value_of(handle.update.commit());
  }
  return *handle.report;
}

// Without an exception the update commits; with one it aborts, and the exception goes on.
void leave(UpdateHandle& handle, nb::handle type, nb::handle, nb::handle) {
  if (handle.report) return;
  if (type.is_none()) {
    commit(handle);
    return;
  }
  nb::gil_scoped_release released;
  handle.update.abort();
}

UpdateReport reload_directory(const ModelHandle& model, const fs::path& directory,
                              std::optional<std::string> version) {
  nb::gil_scoped_release released;
  UpdateOptions options;
  options.label = version.value_or(directory.string());
  const Checkpoint checkpoint = value_of(Checkpoint::open(directory));
  UpdateReport report =
      value_of(reload(*model.state->live, checkpoint, model.state->names, std::move(options)));
  model.state->came_from(report.version.number, directory);
  return report;
}

void bind_report(nb::module_& module) {
  nb::class_<UpdateReport>(module, "UpdateReport", "What an update did.")
      .def_ro("version", &UpdateReport::version)
      .def_ro("tensors", &UpdateReport::tensors, "Checkpoint tensors that came.")
      .def_ro("source_bytes", &UpdateReport::source_bytes)
      .def_ro("stage_seconds", &UpdateReport::stage_seconds)
      .def_ro("prepare_seconds", &UpdateReport::prepare_seconds)
      .def_ro("commit_seconds", &UpdateReport::commit_seconds)
      .def_ro("pause_us", &UpdateReport::pause_us, "Microseconds in which no step could begin.")
      .def_ro("extra_peak_bytes", &UpdateReport::extra_peak_bytes)
      .def_ro("predicted_extra_peak_bytes", &UpdateReport::predicted_extra_peak_bytes);
}

}  // namespace

void bind_update(nb::module_& module, nb::class_<ModelHandle>& model) {
  bind_report(module);
  nb::class_<UpdateHandle>(
      module, "Update",
      "The transaction that turns one version into the next. As a context manager: leaving normally\n"
      "commits, leaving by an exception aborts. All or nothing; dropped without a commit, it aborts.")
      .def("put", &put, nb::arg("name"), nb::arg("tensor"), nb::kw_only(), nb::arg("offset") = nb::none(),
           nb::arg("region") = nb::none(), nb::arg("dtype") = nb::none(), nb::arg("shape") = nb::none(),
           "Takes a checkpoint tensor, bf16, fp16 or fp32, of torch, numpy or jax, or anything with DLPack "
           "or the buffer\n"
           "protocol. It is read where it lies and may be freed on return. Several threads may put at "
           "once.\n\n"
           "offset: the tensor is the elements from there of the flattened checkpoint tensor.\n"
           "region: (start, extent) along every dimension: the tensor is that piece.\n"
           "dtype, shape: how to read raw bytes: \"BF16\", (4096, 4096).\n\n"
           "Errors: unknown_tensor, wrong_shape, wrong_dtype, duplicate_tensor, non_finite, "
           "resource_exhausted (too many\n"
           "unfinished pieces). After one, every later call fails with the same error.",
           nb::sig("def put(self, name: str, tensor: typing.Any, *, offset: int | None = None, region: "
                   "tuple[collections.abc.Sequence[int], collections.abc.Sequence[int]] | None = None, "
                   "dtype: str | None = None, "
                   "shape: collections.abc.Sequence[int] | None = None) -> None"))
      .def(
          "prepare",
          [](UpdateHandle& u) {
            nb::gil_scoped_release released;
            check(u.update.prepare());
          },
          "Proves the update: everything came once, all finite, ties equal, digest as promised.")
      .def("commit", &commit, "Publishes the new version between two steps and says what was done.")
      .def(
          "abort",
          [](UpdateHandle& u) {
            nb::gil_scoped_release released;
            u.update.abort();
          },
          "Ends the update without effect.")
      .def_prop_ro(
          "report", [](const UpdateHandle& u) { return u.report; }, "The UpdateReport, once committed.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); },
          nb::sig("def __enter__(self) -> Update"))
      .def("__exit__", &leave, nb::arg().none(), nb::arg().none(), nb::arg().none(),
           nb::sig("def __exit__(self, type: object, value: object, traceback: object, /) -> None"));

  model
      .def("update", &begin, nb::arg("version") = "", nb::kw_only(),
           nb::arg("scope") = std::vector<std::string>{}, nb::arg("base_version") = nb::none(),
           nb::arg("expected_digest") = nb::none(),
           nb::arg("staging_budget_bytes") = UpdateOptions{}.staging_budget_bytes,
           nb::arg("reader_timeout") = 30.0,
           "Opens the one Update that may be open at a time.\n\n"
           "version: the label of the new version. scope: the tensors or modules that it will bring; all by "
           "default.\n"
           "base_version: refuse with stale_version unless this number is current. expected_digest: hex, of "
           "the whole model\n"
           "afterwards. staging_budget_bytes: for units that arrive in pieces. reader_timeout: seconds to "
           "wait for views and\n"
           "steps that still hold the version before the current one; then `busy`.")
      .def("reload", &reload_directory, nb::arg("directory"), nb::kw_only(), nb::arg("version") = nb::none(),
           "One update with every tensor of a Hugging Face directory; says what was done.");
}

}  // namespace liveweight::python
