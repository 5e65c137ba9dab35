#include "checkpoint/delta_chain.h"

#include <fmt/format.h>

#include <algorithm>

namespace liveweight {
namespace {

tl::unexpected<Error> refuse(ErrorCode code, const std::filesystem::path& path, std::string_view tensor,
                             const std::string& what) {
  return fail(code, fmt::format("{}: tensor {}: {}", path.string(), tensor, what), {std::string(tensor)});
}

Status check_kind(const Checkpoint& newer, const CheckpointTensor& came, const Checkpoint& first) {
  const CheckpointTensor* expected = first.find(came.name);
  if (!expected) {
    return refuse(ErrorCode::kUnknownTensor, newer.directory(), came.name,
                  fmt::format("it is not in {}", first.directory().string()));
  }
  if (came.view.dtype != expected->view.dtype) {
    return refuse(ErrorCode::kWrongDtype, newer.directory(), came.name,
                  fmt::format("expected {} as in {}, got {}", to_string(expected->view.dtype),
                              first.directory().string(), to_string(came.view.dtype)));
  }
  if (came.view.shape == expected->view.shape) return {};
  return refuse(ErrorCode::kWrongShape, newer.directory(), came.name,
                fmt::format("expected {} as in {}, got {}", to_string(expected->view.shape),
                            first.directory().string(), to_string(came.view.shape)));
}

// A newer checkpoint brings other values of the same tensors.
Status check_same_tensors(const Checkpoint& newer, const Checkpoint& first) {
  for (const CheckpointTensor& expected : first.tensors()) {
    if (newer.find(expected.name)) continue;
    return refuse(ErrorCode::kMissingTensor, newer.directory(), expected.name,
                  fmt::format("expected {} {} as in {}, got nothing", to_string(expected.view.dtype),
                              to_string(expected.view.shape), first.directory().string()));
  }
  for (const CheckpointTensor& came : newer.tensors()) LW_TRY(check_kind(newer, came, first));
  return {};
}

// The name that is tied to this one; null where there is none.
const std::string* partner(const TiedTensors& tied, const std::string& name) {
  for (const auto& [alias, primary] : tied) {
    if (alias == name) return &primary;
    if (primary == name) return &alias;
  }
  return nullptr;
}

}  // namespace

Status DeltaChain::read(const std::filesystem::path& begin, std::span<const std::filesystem::path> rest) {
  LW_TRY(restart(begin));
  for (const auto& path : rest) {
    LW_ASSIGN(const bool is_delta, DeltaDirectory::is_delta(path));
    LW_TRY(is_delta ? append(path) : restart(path));
  }
  LW_TRY(check_names());
  return check_ties();
}

Status DeltaChain::restart(const std::filesystem::path& path) {
  base = path;
  deltas.clear();
  LW_ASSIGN(checkpoint, Checkpoint::open(path));
  LW_ASSIGN(version, version_of(*checkpoint));
  if (!first) first = checkpoint;
  tensors_.clear();
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    LW_ASSIGN(std::string name, model_name(tensor.name));
    tensors_.emplace(std::move(name), &tensor);
  }
  return check_same_tensors(*checkpoint, *first);
}

Status DeltaChain::append(const std::filesystem::path& path) {
  LW_ASSIGN(DeltaDirectory delta, DeltaDirectory::open(path));
  if (!same_version(delta.base_version(), version)) {
    return fail(ErrorCode::kStaleVersion,
                fmt::format("{}: base_version: it applies on version {}, but the checkpoint is at {}",
                            path.string(), delta.base_version(), version),
                {path.string()});
  }
  version = delta.version();
  std::map<std::string, std::string> names;
  for (const std::string& name : delta.names()) {
    LW_ASSIGN(const std::string ours, model_name(name));
    const auto [at, added] = names.emplace(ours, name);
    if (!added)
      return refuse(ErrorCode::kDuplicateTensor, path, name, fmt::format("{} is it, too", at->second));
  }
  deltas.push_back({std::move(delta), std::move(names)});
  return {};
}

Status DeltaChain::check_names() const {
  for (const auto& [delta, names] : deltas) {
    for (const auto& [name, own_name] : names) {
      if (find(name)) continue;
      return fail(ErrorCode::kUnknownTensor,
                  fmt::format("{}: tensor {} is not in {}", delta.path().string(), own_name, base.string()),
                  {own_name});
    }
  }
  return {};
}

// The name by which the delta changes it: its own, else that of what is tied to it. Null where it does not.
const std::string* DeltaChain::name_in(const NamedDelta& delta, const std::string& name) const {
  if (delta.names.contains(name)) return &name;
  const std::string* other = partner(tied, name);
  return other && delta.names.contains(*other) ? other : nullptr;
}

const CheckpointTensor* DeltaChain::own(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

// Of what is tied one name is enough.
const CheckpointTensor* DeltaChain::find(const std::string& name) const {
  if (const CheckpointTensor* found = own(name)) return found;
  const std::string* other = partner(tied, name);
  return other ? own(*other) : nullptr;
}

Result<PatchedTensor> DeltaChain::patched(const std::string& name, const TensorView& view) const {
  LW_ASSIGN(const std::string ours, model_name(name));
  return patched_as(ours, view);
}

// By the model's name.
Result<PatchedTensor> DeltaChain::patched_as(const std::string& name, const TensorView& view) const {
  PatchedTensor tensor;
  for (const NamedDelta& delta : deltas) {
    const std::string* source = name_in(delta, name);
    if (!source) continue;
    if (!tensor.changed) tensor.bytes.assign(view.data, view.data + view.bytes);
    tensor.changed = true;
    const std::string& own_name = delta.names.at(*source);
    LW_ASSIGN(
        const TensorDelta changes,
        delta.directory.decode(own_name, {view.dtype, view.shape, tensor.bytes.data(), tensor.bytes.size()}));
    patch(changes, tensor.bytes);
    LW_TRY(delta.directory.verify(own_name, tensor.bytes));
    if (*source == name || !own(*source)) tensor.elements += changes.positions.size();
  }
  return tensor;
}

// What was tied before and is not changed is not looked at.
Status DeltaChain::check_ties() const {
  for (const auto& [alias, primary] : tied) {
    bool changed = base != first->directory();
    for (const NamedDelta& delta : deltas) changed |= name_in(delta, primary) != nullptr;
    if (changed && find(primary)) LW_TRY(check_alike(alias, primary));
  }
  return {};
}

Status DeltaChain::check_alike(const std::string& name, const std::string& other) const {
  const TensorView &view = find(name)->view, &other_view = find(other)->view;
  if (view.dtype == other_view.dtype && view.shape == other_view.shape) {
    LW_ASSIGN(const PatchedTensor tensor, patched_as(name, view));
    LW_ASSIGN(const PatchedTensor tied_to, patched_as(other, other_view));
    const std::byte* bytes = tensor.changed ? tensor.bytes.data() : view.data;
    if (std::equal(bytes, bytes + view.bytes, tied_to.changed ? tied_to.bytes.data() : other_view.data))
      return {};
  }
  return fail(ErrorCode::kBadCheckpoint,
              fmt::format("{}: tensor {}: it is tied to {}, but with the deltas the two would differ",
                          base.string(), name, other),
              {name, other});
}

}  // namespace liveweight
