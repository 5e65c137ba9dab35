// The bytes of a mirror: mapped files, and where each tensor lies in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/name_table.h"
#include "checkpoint/mapping.h"
#include "liveweight/mirror.h"

namespace liveweight {

struct MirrorTensor {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;
  std::span<std::byte> bytes;
  uint64_t first_part = 0;  // of its checksums, among all tensors' in the order of their names

  TensorView view() const { return {dtype, shape, bytes.data(), bytes.size()}; }
};

struct MirrorContent {
  std::vector<Mapping> files;
  std::vector<MirrorTensor> tensors;  // in the order of their names
  NameTable by_name;
  uint64_t parts = 0;

  // Null where there is none of that name.
  const MirrorTensor* find(std::string_view name) const;
  // The one that part `part` is of.
  const MirrorTensor& of_part(uint64_t part) const;
  // Of part `part` as it is.
  uint64_t sum_of(uint64_t part) const;

  static Result<MirrorContent> map(const Checkpoint& checkpoint, const TensorNames& names,
                                   Mapping::Access access);

  Status check(const std::vector<TensorDelta>& deltas) const;
  // dtype and shape, which a log does not hold.
  Status complete(std::vector<TensorDelta>& deltas) const;
  Status put(const std::vector<TensorDelta>& deltas);
  // What they overwrite.
  std::vector<TensorDelta> before(const std::vector<TensorDelta>& deltas) const;
};

}  // namespace liveweight
