// liveweight.diff, DeltaWriter and apply_deltas: the side that makes deltas.
#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <utility>

#include "array.h"
#include "errors.h"
#include "liveweight/delta.h"
#include "model.h"
#include "source.h"

namespace nb = nanobind;
namespace fs = std::filesystem;

namespace liveweight::python {
namespace {

nb::tuple diff(nb::handle old, nb::handle updated) {
  const Source before = read_source("old", old), after = read_source("new", updated);
  TensorDelta delta;
  {
    nb::gil_scoped_release released;
    delta = value_of(compare_tensors("new", before.view, after.view));
  }
  const auto count = static_cast<int64_t>(delta.positions.size());
  const auto positions = std::as_bytes(delta.positions);
  Array indices{{DType::kU32, {count}, positions.data(), positions.size()}, delta.owner, true};
  Array values{{delta.dtype, {count}, delta.values.data(), delta.values.size()}, delta.owner, true};
  return nb::make_tuple(std::move(indices), std::move(values));
}

// Calls of several threads take turns.
struct DeltaWriterHandle {
  explicit DeltaWriterHandle(DeltaWriter started)
      : mutex(std::make_unique<std::mutex>()), writer(std::move(started)) {}
  std::unique_ptr<std::mutex> mutex;
  std::optional<DeltaWriter> writer;  // none once it is finished or given up
  FirstError first_error;

  DeltaWriter& open() {
    if (writer) return *writer;
    throw Failure{Error{ErrorCode::kFailedState, "the delta is finished or was given up", {}}};
  }
};

DeltaWriterHandle create(const fs::path& directory, std::string version, std::string base_version,
                         const std::string& encoding, std::string checksum, uint64_t shard_bytes) {
  DeltaWriteOptions options;
  options.encoding = value_of(parse_delta_encoding(encoding));
  options.version = std::move(version);
  options.base_version = std::move(base_version);
  options.checksum_format = std::move(checksum);
  options.shard_bytes = shard_bytes;
  nb::gil_scoped_release released;
  return DeltaWriterHandle(value_of(DeltaWriter::create(directory, std::move(options))));
}

uint64_t add(DeltaWriterHandle& handle, const std::string& name, nb::handle old, nb::handle updated,
             const ReadAs& as) {
  const Source before = read_source(name, old, as), after = read_source(name, updated, as);
  nb::gil_scoped_release released;
  std::lock_guard lock(*handle.mutex);
  return value_of(handle.open().add(name, before.view, after.view));
}

uint64_t finish(DeltaWriterHandle& handle) {
  nb::gil_scoped_release released;
  std::lock_guard lock(*handle.mutex);
  const uint64_t bytes = value_of(handle.open().finish());
  handle.writer.reset();
  return bytes;
}

void give_up(DeltaWriterHandle& handle) {
  nb::gil_scoped_release released;
  std::lock_guard lock(*handle.mutex);
  handle.writer.reset();
}

void leave(DeltaWriterHandle& handle, nb::handle type, nb::handle, nb::handle) {
  if (!handle.writer) return;
  try {
    if (type.is_none()) handle.first_error.attempt([&] { return finish(handle); });
  } catch (...) {
    give_up(handle);
    throw;
  }
  give_up(handle);
}

nb::dict apply(const fs::path& directory, const std::vector<fs::path>& deltas,
               const std::optional<fs::path>& out) {
  DeltaApplyReport report;
  const NameMap names;
  {
    nb::gil_scoped_release released;
    report = value_of(apply_deltas(directory, deltas, out.value_or(directory), tied_tensors(directory),
                                   names.as_function()));
  }
  nb::dict result;
  result["version"] = report.version;
  result["deltas"] = report.deltas;
  result["tensors"] = report.tensors;
  result["changed"] = report.changed_elements;
  result["bytes"] = report.bytes;
  return result;
}

void bind_writer(nb::module_& module) {
  nb::class_<DeltaWriterHandle>(module, "DeltaWriter",
                                "Writes a delta directory tensor by tensor. As a context manager: leaving "
                                "normally finishes it, leaving "
                                "by an exception\n"
                                "leaves nothing. The directory appears when it is finished, whole.")
      .def(
          "__init__",
          [](DeltaWriterHandle* self, const fs::path& directory, std::string version,
             std::string base_version, const std::string& encoding, std::string checksum,
             uint64_t shard_bytes) {
            new (self) DeltaWriterHandle(create(directory, std::move(version), std::move(base_version),
                                                encoding, std::move(checksum), shard_bytes));
          },
          nb::arg("directory"), nb::kw_only(), nb::arg("version"), nb::arg("base_version"),
          nb::arg("encoding") = "indices", nb::arg("checksum") = "xxh3-128",
          nb::arg("shard_bytes") = DeltaWriteOptions{}.shard_bytes,
          "directory: new or empty. version, base_version: names of the weights that it leads to, and of "
          "those "
          "that it applies\n"
          "on. encoding: \"indices\", \"xor\" or \"overwrite\". checksum: \"xxh3-128\" or \"adler32\". "
          "shard_bytes: of a file.",
          nb::sig("def __init__(self, directory: str | os.PathLike, *, version: str, base_version: str, "
                  "encoding: str = 'indices', checksum: str = 'xxh3-128', shard_bytes: int = 1073741824) -> "
                  "None"))
      .def(
          "add",
          [](DeltaWriterHandle& w, const std::string& name, nb::handle old, nb::handle updated,
             std::optional<std::string> dtype, std::optional<Shape> shape) {
            const ReadAs as{std::move(dtype), std::move(shape)};
            return w.first_error.attempt([&] { return add(w, name, old, updated, as); });
          },
          nb::arg("name"), nb::arg("old"), nb::arg("new"), nb::kw_only(), nb::arg("dtype") = nb::none(),
          nb::arg("shape") = nb::none(),
          "Compares two states of a tensor, bit by bit, and adds what differs; says how many elements do. "
          "Both "
          "are as\n"
          "`Update.put` takes them, of one dtype and shape. A tensor without changes is left out.\n"
          "dtype, shape: how to read raw bytes. Errors: wrong_dtype, wrong_shape, duplicate_tensor, io. "
          "After "
          "one, every later\n"
          "call fails with the same error.",
          nb::sig("def add(self, name: str, old: typing.Any, new: typing.Any, *, dtype: str | None = None, "
                  "shape: collections.abc.Sequence[int] | None = None) -> int"))
      .def(
          "finish", [](DeltaWriterHandle& w) { return w.first_error.attempt([&] { return finish(w); }); },
          "Puts the directory in its place; the bytes of its files.")
      .def("abort", &give_up, "Leaves nothing.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); },
          nb::sig("def __enter__(self) -> DeltaWriter"))
      .def("__exit__", &leave, nb::arg().none(), nb::arg().none(), nb::arg().none(),
           nb::sig("def __exit__(self, type: object, value: object, traceback: object, /) -> None"));
}

}  // namespace

void bind_deltas(nb::module_& module) {
  bind_writer(module);
  module.def("diff", &diff, nb::arg("old"), nb::arg("new"),
             nb::sig("def diff(old: typing.Any, new: typing.Any) -> tuple[Array, Array]"),
             "Indices and values of the elements that differ.");
  module.def(
      "apply_deltas", &apply, nb::arg("directory"), nb::arg("deltas"), nb::arg("out") = nb::none(),
      "Writes the checkpoint in `directory` with delta directories put into it in their order, each on "
      "the version that it\n"
      "names as its base. out: a new or empty directory; without it `directory` is exchanged for the "
      "result in one step.\n"
      "Says version, deltas, tensors, changed (elements) and bytes.",
      nb::sig("def apply_deltas(directory: str | os.PathLike, deltas: collections.abc.Sequence[str | "
              "os.PathLike], out: str | os.PathLike | None = None) -> dict[str, typing.Any]"));
}

}  // namespace liveweight::python
