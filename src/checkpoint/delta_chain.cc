#include "checkpoint/delta_chain.h"

#include <fmt/format.h>

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

}  // namespace

Status DeltaChain::read(const std::filesystem::path& begin, std::span<const std::filesystem::path> rest) {
  LW_TRY(restart(begin));
  for (const auto& path : rest) {
    LW_ASSIGN(const bool is_delta, DeltaDirectory::is_delta(path));
    LW_TRY(is_delta ? append(path) : restart(path));
  }
  return check_names();
}

Status DeltaChain::restart(const std::filesystem::path& path) {
  base = path;
  deltas.clear();
  LW_ASSIGN(checkpoint, Checkpoint::open(path));
  LW_ASSIGN(version, version_of(*checkpoint));
  if (!first) first = checkpoint;
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
  deltas.push_back(std::move(delta));
  return {};
}

Status DeltaChain::check_names() const {
  for (const DeltaDirectory& delta : deltas) {
    for (const std::string& name : delta.names()) {
      if (checkpoint->find(name)) continue;
      return fail(ErrorCode::kUnknownTensor,
                  fmt::format("{}: tensor {} is not in {}", delta.path().string(), name, base.string()),
                  {name});
    }
  }
  return {};
}

}  // namespace liveweight
