// A typed, shaped view of bytes that someone else owns. Row-major and contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "liveweight/dtype.h"

namespace liveweight {

using Shape = std::vector<int64_t>;

int64_t element_count(const Shape& shape);  // 1 for rank 0; the caller keeps it below 2^63
std::string to_string(const Shape& shape);  // "[64, 172]"

struct TensorView {
  DType dtype = DType::kBF16;
  Shape shape;
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
};

}  // namespace liveweight
