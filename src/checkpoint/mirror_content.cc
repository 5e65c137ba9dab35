#include "checkpoint/mirror_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/seam.h"
#include "checkpoint/part_sums.h"

namespace liveweight {

Result<MirrorContent> MirrorContent::map(const Checkpoint& checkpoint, const TensorNames& names,
                                         Mapping::Access access) {
  MirrorContent content;
  for (const std::string& file : checkpoint.file_names()) {
    LW_ASSIGN(Mapping mapping, Mapping::open(checkpoint.directory() / file, access));
    const auto bytes = mapping.writable();
    LW_ASSIGN(const SafetensorsHeader header, parse_safetensors_header(bytes, bytes.size(), file));
    for (const SafetensorsEntry& entry : header.tensors) {
      if (!checkpoint.find(entry.name)) continue;
      LW_ASSIGN(std::string name, names(entry.name));
      content.tensors[std::move(name)] = {
          entry.dtype, entry.shape, bytes.subspan(header.data_begin + entry.begin, entry.end - entry.begin),
          0};
    }
    content.files.push_back(std::move(mapping));
  }
  LW_TRY(checkpoint.check_unchanged());
  for (const std::string& name : content.sorted_names()) {
    MirrorTensor& tensor = content.tensors.at(name);
    tensor.first_part = content.parts;
    content.parts += part_count(tensor.bytes.size());
  }
  return content;
}

std::vector<std::string> MirrorContent::sorted_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Status MirrorContent::check(const std::vector<TensorDelta>& deltas) const {
  for (const TensorDelta& delta : deltas) {
    const auto found = tensors.find(delta.name);
    if (found == tensors.end()) {
      return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {} is not in the mirror", delta.name),
                  {delta.name});
    }
    const MirrorTensor& tensor = found->second;
    if (tensor.dtype == delta.dtype && tensor.shape == delta.shape) continue;
    return fail(tensor.dtype == delta.dtype ? ErrorCode::kWrongShape : ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected {} {} as in the mirror, got {} {}", delta.name,
                            to_string(tensor.dtype), to_string(tensor.shape), to_string(delta.dtype),
                            to_string(delta.shape)),
                {delta.name});
  }
  return {};
}

Status MirrorContent::complete(std::vector<TensorDelta>& deltas) const {
  for (TensorDelta& delta : deltas) {
    const auto found = tensors.find(delta.name);
    bool fits = found != tensors.end();
    if (fits) {
      const MirrorTensor& tensor = found->second;
      delta.dtype = tensor.dtype;
      delta.shape = tensor.shape;
      const auto cell = static_cast<uint64_t>(cell_bytes(tensor.dtype));
      fits =
          delta.values.size() == delta.positions.size() * cell &&
          (delta.positions.empty() || (delta.positions.back() + uint64_t{1}) * cell <= tensor.bytes.size());
    }
    if (fits) continue;
    return fail(ErrorCode::kBadCheckpoint,
                fmt::format("the mirror's log changes tensor {}, which does not fit", delta.name),
                {delta.name});
  }
  return {};
}

Status MirrorContent::put(const std::vector<TensorDelta>& deltas) {
  for (const TensorDelta& delta : deltas) {
    LW_TRY(reach(Step::kMirrorWrite));
    patch(delta, tensors.at(delta.name).bytes);
  }
  return {};
}

std::vector<TensorDelta> MirrorContent::before(const std::vector<TensorDelta>& deltas) const {
  struct Owner {
    std::vector<std::shared_ptr<const void>> positions;
    std::vector<std::byte> values;
  };
  const auto owner = std::make_shared<Owner>();
  size_t bytes = 0;
  for (const TensorDelta& delta : deltas) {
    owner->positions.push_back(delta.owner);
    bytes += delta.values.size();
  }
  owner->values.resize(bytes);
  std::vector<TensorDelta> all = deltas;
  std::byte* to = owner->values.data();
  for (TensorDelta& delta : all) {
    const auto cell = static_cast<size_t>(cell_bytes(delta.dtype));
    const std::byte* from = tensors.at(delta.name).bytes.data();
    delta.values = {to, delta.values.size()};
    delta.owner = owner;
    for (size_t i = 0; i < delta.positions.size(); ++i, to += cell) {
      std::memcpy(to, from + delta.positions[i] * cell, cell);
    }
  }
  return all;
}

}  // namespace liveweight
