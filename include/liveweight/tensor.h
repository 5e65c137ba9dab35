// A typed, shaped view of bytes that someone else owns. Row-major and contiguous.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "liveweight/dtype.h"

namespace liveweight {

// A tensor's extents, outermost first. Up to three, as nearly every tensor of a model has, take no memory of
// their own.
class Shape {
 public:
  using value_type = int64_t;
  using iterator = int64_t*;
  using const_iterator = const int64_t*;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents) {
    for (const int64_t extent : extents) push_back(extent);
  }
  Shape(size_t rank, int64_t extent) {
    while (size() < rank) push_back(extent);
  }

  void push_back(int64_t extent) {
    if (many_.empty() && rank_ < few_.size()) {
      few_[rank_++] = extent;
      return;
    }
    if (many_.empty()) many_.assign(few_.begin(), few_.end());
    many_.push_back(extent);
  }

  size_t size() const { return many_.empty() ? rank_ : many_.size(); }
  bool empty() const { return size() == 0; }
  const int64_t* data() const { return many_.empty() ? few_.data() : many_.data(); }
  int64_t* data() { return many_.empty() ? few_.data() : many_.data(); }
  const int64_t* begin() const { return data(); }
  const int64_t* end() const { return data() + size(); }
  int64_t operator[](size_t dimension) const { return data()[dimension]; }
  int64_t& operator[](size_t dimension) { return data()[dimension]; }
  int64_t front() const { return *begin(); }
  int64_t back() const { return *(end() - 1); }
  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

 private:
  size_t rank_ = 0;  // where there are few
  std::array<int64_t, 3> few_{};
  std::vector<int64_t> many_;  // all of them, where there are more
};

int64_t element_count(const Shape& shape);  // 1 for rank 0; the caller keeps it below 2^63
std::string to_string(const Shape& shape);  // "[64, 172]"

struct TensorView {
  DType dtype = DType::kBF16;
  Shape shape;
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
};

}  // namespace liveweight
