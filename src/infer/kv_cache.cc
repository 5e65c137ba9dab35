#include "infer/kv_cache.h"

namespace liveweight {

Result<KvCache> KvCache::allocate(const KvShape& shape) {
  KvCache cache;
  cache.shape_ = shape;
  const int64_t floats = 2 * shape.layers * shape.sequences * shape.heads * shape.max_tokens * shape.head_dim;
  LW_ASSIGN(cache.buffer_, Buffer::allocate(static_cast<uint64_t>(floats) * sizeof(float)));
  return cache;
}

}  // namespace liveweight
