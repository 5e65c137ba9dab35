#include "checkpoint/mirror_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/seam.h"
#include "checkpoint/part_sums.h"

namespace liveweight {

namespace {

// What one file of the checkpoint holds; `bytes` are the file's.
Status add_tensors(const Checkpoint& checkpoint, const TensorNames& names, const std::string& file,
                   std::span<std::byte> bytes, std::vector<MirrorTensor>& tensors) {
  LW_ASSIGN(const SafetensorsHeader header, parse_safetensors_header(bytes, bytes.size(), file));
  for (const SafetensorsEntry& entry : header.tensors) {
    if (!checkpoint.find(entry.name)) continue;
    LW_ASSIGN(std::string name, names(entry.name));
    tensors.push_back({std::move(name), entry.dtype, entry.shape,
                       bytes.subspan(header.data_begin + entry.begin, entry.end - entry.begin), 0});
  }
  return {};
}

// A delta of a log: that its numbers are right, and none too large.
bool fits(const MirrorTensor& tensor, const TensorDelta& delta) {
  const auto cell = static_cast<uint64_t>(cell_bytes(tensor.dtype));
  return delta.values.size() == delta.positions.size() * cell &&
         (delta.positions.empty() || (delta.positions.back() + uint64_t{1}) * cell <= tensor.bytes.size());
}

}  // namespace

Result<MirrorContent> MirrorContent::map(const Checkpoint& checkpoint, const TensorNames& names,
                                         Mapping::Access access) {
  MirrorContent content;
  std::vector<MirrorTensor>& tensors = content.tensors;
  for (const std::string& file : checkpoint.file_names()) {
    LW_ASSIGN(Mapping mapping, Mapping::open(checkpoint.directory() / file, access));
    LW_TRY(add_tensors(checkpoint, names, file, mapping.writable(), tensors));
    content.files.push_back(std::move(mapping));
  }
  LW_TRY(checkpoint.check_unchanged());
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    tensors[i].first_part = content.parts;
    content.parts += part_count(tensors[i].bytes.size());
    const auto name_of = [&](uint32_t known) { return std::string_view(tensors[known].name); };
    if (!content.by_name.add(tensors[i].name, i, name_of)) continue;
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: the mirror's checkpoint has it twice", tensors[i].name),
                {tensors[i].name});
  }
  return content;
}

const MirrorTensor* MirrorContent::find(std::string_view name) const {
  const auto found =
      by_name.find(name, [&](uint32_t known) { return std::string_view(tensors[known].name); });
  return found ? &tensors[*found] : nullptr;
}

const MirrorTensor& MirrorContent::of_part(uint64_t part) const {
  const auto behind = std::upper_bound(tensors.begin(), tensors.end(), part,
                                       [](uint64_t p, const MirrorTensor& t) { return p < t.first_part; });
  return *std::prev(behind);
}

uint64_t MirrorContent::sum_of(uint64_t part) const {
  const MirrorTensor& tensor = of_part(part);
  return sum_of_part(tensor.bytes, tensor.first_part, part - tensor.first_part);
}

Status MirrorContent::check(const std::vector<TensorDelta>& deltas) const {
  for (const TensorDelta& delta : deltas) {
    const MirrorTensor* tensor = find(delta.name);
    if (!tensor) {
      return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {} is not in the mirror", delta.name),
                  {delta.name});
    }
    if (tensor->dtype == delta.dtype && tensor->shape == delta.shape) continue;
    return fail(tensor->dtype == delta.dtype ? ErrorCode::kWrongShape : ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected {} {} as in the mirror, got {} {}", delta.name,
                            to_string(tensor->dtype), to_string(tensor->shape), to_string(delta.dtype),
                            to_string(delta.shape)),
                {delta.name});
  }
  return {};
}

Status MirrorContent::complete(std::vector<TensorDelta>& deltas) const {
  for (TensorDelta& delta : deltas) {
    const MirrorTensor* tensor = find(delta.name);
    if (tensor) {
      delta.dtype = tensor->dtype;
      delta.shape = tensor->shape;
    }
    if (tensor && fits(*tensor, delta)) continue;
    return fail(ErrorCode::kBadCheckpoint,
                fmt::format("the mirror's log changes tensor {}, which does not fit", delta.name),
                {delta.name});
  }
  return {};
}

Status MirrorContent::put(const std::vector<TensorDelta>& deltas) {
  for (const TensorDelta& delta : deltas) {
    LW_TRY(reach(Step::kMirrorWrite));
    patch(delta, find(delta.name)->bytes);
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
    const std::byte* from = find(delta.name)->bytes.data();
    delta.values = {to, delta.values.size()};
    delta.owner = owner;
    for (size_t i = 0; i < delta.positions.size(); ++i, to += cell) {
      std::memcpy(to, from + delta.positions[i] * cell, cell);
    }
  }
  return all;
}

}  // namespace liveweight
