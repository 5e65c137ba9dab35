#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "checkpoint/decode.h"
#include "errors.h"
#include "live/plan_tables.h"
#include "model.h"
#include "source.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

struct UpdateHandle {
  std::shared_ptr<ModelState> state;
  Update update;
  FirstError first_error;
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

UpdateHandle begin(const ModelHandle& model, std::string version, std::vector<std::string> scope, bool deltas,
                   std::optional<uint64_t> base_version, std::optional<std::string> expected_digest,
                   uint64_t staging_budget_bytes, double reader_timeout) {
  UpdateOptions options;
  options.label = std::move(version);
  options.scope = std::move(scope);
  options.deltas = deltas;
  options.base_version = base_version;
  options.staging_budget_bytes = staging_budget_bytes;
  if (expected_digest) options.expected_digest = parse_digest(*expected_digest);
  options.reader_timeout = milliseconds_of(reader_timeout);
  nb::gil_scoped_release released;
  if (deltas || !options.scope.empty()) check(model.state->bring_mirror_up());
  return {model.state, value_of(model.state->live->begin_update(std::move(options))), {}, {}};
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

// What the values replace; the tensor's own facts are the plan's.
Result<TensorDelta> changes_of(const ModelState& state, const std::string& name, const TensorView& indices,
                               const TensorView& values) {
  const Plan::Implementation& plan = state.live->plan().implementation();
  const int32_t index = plan.find_source(name);
  if (index < 0) {
    return fail(ErrorCode::kUnknownTensor,
                fmt::format("tensor {}: expected changes of a tensor of the model", name), {name});
  }
  const liveweight::Source& facts = plan.sources[static_cast<size_t>(index)];
  const TensorView base{facts.dtype, facts.shape, nullptr, facts.bytes};
  Result<TensorDelta> delta = decode_indices(name, base, indices, values, nullptr);
  // An index that is out of range is what makes a delta's file a bad one; here it is an argument.
  if (!delta && delta.error().code == ErrorCode::kBadCheckpoint)
    return fail(ErrorCode::kInvalidArgument, delta.error().message, {name});
  return delta;
}

void put_delta(UpdateHandle& handle, const std::string& name, nb::handle indices, nb::handle values,
               std::optional<std::string> dtype) {
  const Source positions = read_source(name + ".indices", indices);
  const Source elements = read_source(name + ".values", values, {std::move(dtype), {}});
  nb::gil_scoped_release released;
  const std::string canonical = canonical_name(*handle.state, name);
  if (canonical.empty()) return;
  check(
      handle.update.put_delta(value_of(changes_of(*handle.state, canonical, positions.view, elements.view))));
}

UpdateReport commit(UpdateHandle& handle) {
  {
    nb::gil_scoped_release released;
    handle.report = value_of(handle.update.commit());
    handle.state->origins.committed({handle.report->version.number, handle.report->version.label, {}, {}});
  }
  return *handle.report;
}

void abort(UpdateHandle& handle) {
  nb::gil_scoped_release released;
  handle.update.abort();
}

// Ends the update either way: without an exception by a commit, and where there is one, or that fails,
// without effect.
void leave(UpdateHandle& handle, nb::handle type, nb::handle, nb::handle) {
  if (handle.report) return;
  try {
    if (type.is_none()) handle.first_error.attempt([&] { return commit(handle); });
  } catch (...) {
    abort(handle);
    throw;
  }
  if (!type.is_none()) abort(handle);
}

}  // namespace

void bind_update(nb::module_& module, nb::class_<ModelHandle>& model) {
  nb::class_<UpdateHandle>(
      module, "Update",
      "The transaction that turns one version into the next. As a context manager: leaving normally\n"
      "commits, leaving by an exception aborts. All or nothing; dropped without a commit, it aborts.")
      .def(
          "put",
          [](UpdateHandle& u, const std::string& name, nb::handle tensor, std::optional<int64_t> offset,
             const std::optional<RegionArgument>& region, std::optional<std::string> dtype,
             std::optional<Shape> shape) {
            u.first_error.attempt(
                [&] { put(u, name, tensor, offset, region, std::move(dtype), std::move(shape)); });
          },
          nb::arg("name"), nb::arg("tensor"), nb::kw_only(), nb::arg("offset") = nb::none(),
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
          "put_delta",
          [](UpdateHandle& u, const std::string& name, nb::handle indices, nb::handle values,
             std::optional<std::string> dtype) {
            u.first_error.attempt([&] { put_delta(u, name, indices, values, std::move(dtype)); });
          },
          nb::arg("name"), nb::arg("indices"), nb::arg("values"), nb::kw_only(),
          nb::arg("dtype") = nb::none(),
          "Takes the elements of a checkpoint tensor that change from the current version on; all others "
          "keep "
          "their values.\n"
          "Only what changes is quantized, and units whose scale may move: those are read from the model's "
          "mirror. For updates\n"
          "begun with deltas=True. Both arrays are as `put` takes them, and may be freed on return; several "
          "threads may put.\n\n"
          "indices: [n], of elements in the flattened tensor, or [n, 2], row and column of the tensor as a "
          "matrix of its last\n"
          "dimension's width; integers of any type, in any order (ascending uint32 costs least).\n"
          "values: [n], the new elements, of the tensor's own dtype. dtype: how to read raw bytes: "
          "\"BF16\".\n\n"
          "Errors: unknown_tensor, wrong_shape, wrong_dtype, invalid_argument (an index out of range), "
          "duplicate_tensor (an\n"
          "element twice), non_finite, failed_state (not begun for deltas; or, by commit, a mirror is needed "
          "that is not there),\n"
          "unsupported (weights that the checkpoint holds quantized). After one, every later call fails with "
          "the same error.",
          nb::sig("def put_delta(self, name: str, indices: typing.Any, values: typing.Any, *, dtype: str | "
                  "None = None) -> None"))
      .def(
          "prepare",
          [](UpdateHandle& u) {
            u.first_error.attempt([&] {
              nb::gil_scoped_release released;
              check(u.update.prepare());
            });
          },
          "Proves the update: everything came once, all finite, ties equal, digest as promised.")
      .def(
          "commit", [](UpdateHandle& u) { return u.first_error.attempt([&] { return commit(u); }); },
          "Publishes the new version between two steps and says what was done.")
      .def("abort", &abort, "Ends the update without effect.")
      .def_prop_ro(
          "report", [](const UpdateHandle& u) { return u.report; }, "The UpdateReport, once committed.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); },
          nb::sig("def __enter__(self) -> Update"))
      .def("__exit__", &leave, nb::arg().none(), nb::arg().none(), nb::arg().none(),
           nb::sig("def __exit__(self, type: object, value: object, traceback: object, /) -> None"));

  model.def(
      "update", &begin, nb::arg("version") = "", nb::kw_only(), nb::arg("scope") = std::vector<std::string>{},
      nb::arg("deltas") = false, nb::arg("base_version") = nb::none(),
      nb::arg("expected_digest") = nb::none(),
      nb::arg("staging_budget_bytes") = UpdateOptions{}.staging_budget_bytes,
      nb::arg("reader_timeout") = 30.0,
      "Opens the one Update that may be open at a time.\n\n"
      "version: the label of the new version. scope: the tensors or modules that it will bring; all by "
      "default.\n"
      "deltas: whether put_delta will be called; what does not come then keeps its bytes. Not in the mode "
      "in_place.\n"
      "base_version: refuse with stale_version unless this number is current. expected_digest: hex, of "
      "the whole model\n"
      "afterwards. staging_budget_bytes: for units that arrive in pieces. reader_timeout: seconds to "
      "wait for views and\n"
      "steps that still hold the version before the current one; then `busy`.");
}

}  // namespace liveweight::python
