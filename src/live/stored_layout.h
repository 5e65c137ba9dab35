// How each checkpoint format lays out a matrix that it holds quantized: the names, shapes and dtypes of its
// tensors, and how their elements become a slot's.
#pragma once

#include <string>
#include <vector>

#include "live/plan_tables.h"

namespace liveweight {

// One tensor of a quantized matrix. An empty name: the format has none.
struct StoredTensor {
  std::string name;
  Shape shape;
  TargetKind kind = TargetKind::kCopy;
  int64_t codes_per_element = 1;  // along a row
};

struct StoredLayout {
  StoredTensor codes;
  StoredTensor scale;
  StoredTensor zero_point;
  StoredTensor shape;
};

// Of one member, by the configuration's method ("fp8", "compressed-tensors" or "torchao"). Some formats leave
// a per-tensor scale's rank, and whether zero points that are all zero are written, to the writer; there the
// catalog decides.
StoredLayout stored_layout(const std::string& method, const Scheme& scheme, const Member& member,
                           const TensorCatalog& catalog);

// The dtypes that the codes may have; the first is the usual one.
std::vector<DType> stored_code_dtypes(const std::string& method, const Scheme& scheme);

}  // namespace liveweight
