// Keys and values of every sequence, fp32, in one buffer that is allocated once: for each layer, sequence and
// key-value head, [max_tokens, head_dim].
#pragma once

#include <cstdint>

#include "base/memory.h"

namespace liveweight {

struct KvShape {
  int64_t layers = 0;
  int64_t sequences = 0;
  int64_t heads = 0;
  int64_t max_tokens = 0;
  int64_t head_dim = 0;
};

class KvCache {
 public:
  static Result<KvCache> allocate(const KvShape& shape);

  const KvShape& shape() const { return shape_; }
  float* keys(int64_t layer, int64_t sequence, int64_t head) const { return at(2 * layer, sequence, head); }
  float* values(int64_t layer, int64_t sequence, int64_t head) const {
    return at(2 * layer + 1, sequence, head);
  }
  const void* data() const { return buffer_.data(); }

 private:
  float* at(int64_t plane, int64_t sequence, int64_t head) const {
    const int64_t index = (plane * shape_.sequences + sequence) * shape_.heads + head;
    return reinterpret_cast<float*>(buffer_.data()) + index * shape_.max_tokens * shape_.head_dim;
  }

  KvShape shape_;
  Buffer buffer_;
};

}  // namespace liveweight
