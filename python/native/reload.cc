// Model.reload: whole checkpoints and deltas from directories, and what is done behind a commit.
#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <utility>

#include "errors.h"
#include "model.h"

namespace nb = nanobind;
namespace fs = std::filesystem;

namespace liveweight::python {
namespace {

// liveweight.DeltaReport, which is an UpdateReport in Python.
struct DeltaUpdateReport : UpdateReport {
  std::string base_version, delta_version;
  uint64_t touched_units = 0;
  double decode_seconds = 0;
  double verify_seconds = 0;
};

UpdateReport reload_checkpoint(ModelState& state, const fs::path& directory, const std::string& version) {
  UpdateOptions options;
  options.label = version.empty() ? directory.string() : version;
  const Checkpoint checkpoint = value_of(Checkpoint::open(directory));
  std::string name = value_of(version_of(checkpoint));
  if (name.empty()) name = version;
  UpdateReport report = value_of(reload(*state.live, checkpoint, state.names, std::move(options)));
  Origin origin{report.version.number, std::move(name), directory, {}};
  if (state.live->mirror()) origin.unmirrored = checkpoint;
  state.origins.committed(std::move(origin));
  return report;
}

DeltaUpdateReport reload_changes(ModelState& state, const fs::path& directory, const std::string& version) {
  const DeltaDirectory delta = value_of(DeltaDirectory::open(directory));
  const std::string name = delta.version().empty() ? version : delta.version();
  UpdateOptions options;
  options.label = !version.empty() ? version : name.empty() ? directory.string() : name;
  check(state.bring_mirror_up());
  const uint64_t base = state.live->version().number;
  options.base_version = base;
  const DeltaReport report = value_of(
      reload_delta(*state.live, delta, state.origins.of(base).name, state.names, std::move(options)));
  state.origins.committed({report.update.version.number, name, {}, {}});
  return {report.update,        report.base_version,   report.version,
          report.touched_units, report.decode_seconds, report.verify_seconds};
}

nb::object reload_directory(const ModelHandle& model, const fs::path& directory,
                            const std::optional<std::string>& version) {
  std::optional<UpdateReport> whole;
  std::optional<DeltaUpdateReport> delta;
  {
    nb::gil_scoped_release released;
    if (value_of(DeltaDirectory::is_delta(directory))) {
      delta = reload_changes(*model.state, directory, version.value_or(""));
    } else {
      whole = reload_checkpoint(*model.state, directory, version.value_or(""));
    }
  }
  return delta ? nb::cast(*std::move(delta)) : nb::cast(*std::move(whole));
}

void catch_up(const ModelHandle& model, double reader_timeout) {
  const auto timeout = milliseconds_of(reader_timeout);
  nb::gil_scoped_release released;
  check(model.state->bring_mirror_up());
  check(model.state->live->catch_up(timeout));
}

void bind_reports(nb::module_& module) {
  nb::class_<UpdateReport>(module, "UpdateReport", "What an update did.")
      .def_ro("version", &UpdateReport::version)
      .def_ro("tensors", &UpdateReport::tensors, "Checkpoint tensors that came.")
      .def_ro("source_bytes", &UpdateReport::source_bytes)
      .def_ro("changed_elements", &UpdateReport::changed_elements, "That deltas named.")
      .def_ro("whole_units", &UpdateReport::whole_units,
              "Quantization units that were quantized whole for those, as their scale might move.")
      .def_ro("mirror_bytes", &UpdateReport::mirror_bytes, "Read from the mirror for those units.")
      .def_ro("in_mirror", &UpdateReport::in_mirror,
              "Whether the model's mirror holds this version; an update that brought every tensor leaves it "
              "behind.")
      .def_ro("stage_seconds", &UpdateReport::stage_seconds)
      .def_ro("prepare_seconds", &UpdateReport::prepare_seconds)
      .def_ro("commit_seconds", &UpdateReport::commit_seconds)
      .def_ro("pause_us", &UpdateReport::pause_us, "Microseconds in which no step could begin.")
      .def_ro("extra_peak_bytes", &UpdateReport::extra_peak_bytes)
      .def_ro("predicted_extra_peak_bytes", &UpdateReport::predicted_extra_peak_bytes);
  nb::class_<DeltaUpdateReport, UpdateReport>(module, "DeltaReport", "What a delta directory did.")
      .def_ro("base_version", &DeltaUpdateReport::base_version, "That the delta applies on, by its own name.")
      .def_ro("delta_version", &DeltaUpdateReport::delta_version, "That it leads to.")
      .def_ro("touched_units", &DeltaUpdateReport::touched_units,
              "Quantization units with a changed element.")
      .def_ro("decode_seconds", &DeltaUpdateReport::decode_seconds, "From files to positions and values.")
      .def_ro("verify_seconds", &DeltaUpdateReport::verify_seconds, "For checksums of whole tensors.");
}

}  // namespace

std::chrono::milliseconds milliseconds_of(double reader_timeout) {
  if (!(reader_timeout >= 0 && reader_timeout < 1e9))
    throw Failure{Error{ErrorCode::kInvalidArgument,
                        fmt::format("reader_timeout: expected seconds, got {}", reader_timeout),
                        {}}};
  return std::chrono::milliseconds(std::llround(reader_timeout * 1e3));
}

Status ModelState::bring_mirror_up() {
  std::lock_guard lock(mirror_mutex);
  const Origin origin = origins.of(live->version().number);
  const auto mirror = live->mirror();
  if (!mirror || !origin.unmirrored) return {};
  LW_TRY(mirror_checkpoint(*live, mirror, *origin.unmirrored, names, origin.name, origin.number));
  origins.mirrored(origin.number);
  return {};
}

void bind_reload(nb::module_& module, nb::class_<ModelHandle>& model) {
  bind_reports(module);
  model
      .def("reload", &reload_directory, nb::arg("directory"), nb::kw_only(), nb::arg("version") = nb::none(),
           "One update with every tensor of a Hugging Face directory, or with the changes of a delta "
           "directory; says what was\n"
           "done, of a delta as a DeltaReport. All or nothing.\n\n"
           "version: the label of the new version; by default the delta's own version, or the directory.\n"
           "A delta must be on the current weights (stale_version): their name is what their directory or "
           "delta records as its\n"
           "version, else the label; weights without a name take any delta.",
           nb::sig("def reload(self, directory: str | os.PathLike, *, version: str | None = None) -> "
                   "UpdateReport"))
      .def("catch_up", &catch_up, nb::arg("reader_timeout") = 30.0,
           "Work for the time behind a commit, so that the next delta costs no more than its changes: puts "
           "what came into the\n"
           "mirror (after `reload` of a whole checkpoint, a copy of it), and brings the next slots up. Where "
           "it is not called the\n"
           "next delta does it first. Over what came whole a rollback is not possible then. Waits up to "
           "reader_timeout seconds "
           "for views and steps\n"
           "that hold the version before the current one, then `busy`.");
}

}  // namespace liveweight::python
