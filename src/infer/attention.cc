#include <algorithm>
#include <cmath>
#include <limits>

#include "infer/calls.h"
#include "infer/vector_kernels.h"

namespace liveweight {
namespace {

// Positions at a time: their scores stay on the stack, and sums grow in blocks whose edges depend on
// positions alone.
constexpr int64_t kBlock = 128;

// One query's running softmax over the blocks seen so far.
struct RunningSoftmax {
  float largest = -std::numeric_limits<float>::infinity();
  float sum = 0;

  void add_block(const float* query, const float* keys, const float* values, int64_t count, int64_t head_dim,
                 float scale, float* out) {
    float scores[kBlock];
    dot_rows(query, keys, head_dim, count, head_dim, scale, scores);
    const float next = std::max(largest, maximum(scores, count));
    const float keep = sum == 0 ? 0.0f : std::exp(largest - next);
    sum = sum * keep + exponentials(scores, count, next);
    largest = next;
    add_weighted_rows(scores, values, head_dim, count, head_dim, keep, out);
  }
};

// All queries that share a key-value head, for one row.
void attend(const AttentionCall& call, int64_t row, int64_t kv_head) {
  const HeadShape& shape = call.shape;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t position = call.input->positions[row];
  const int64_t sequence = call.input->sequences[row];
  const float* keys = call.cache->keys(call.layer, sequence, kv_head);
  const float* values = call.cache->values(call.layer, sequence, kv_head);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  const int64_t begin = call.window > 0 ? std::max<int64_t>(0, position + 1 - call.window) : 0;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const float* query = call.fused + row * shape.fused_width() + head * shape.head_dim;
    float* out = call.out + row * shape.query_width() + head * shape.head_dim;
    std::fill_n(out, shape.head_dim, 0.0f);
    RunningSoftmax softmax;
    for (int64_t at = begin; at <= position; at += kBlock) {
      const int64_t count = std::min(kBlock, position + 1 - at);
      softmax.add_block(query, keys + at * shape.head_dim, values + at * shape.head_dim, count,
                        shape.head_dim, scale, out);
    }
    liveweight::scale(1.0f / softmax.sum, shape.head_dim, out);
  }
}

}  // namespace

void run(const RotateCall& call, Compute& compute) {
  const HeadShape& shape = call.shape;
  compute.for_each(call.input->rows, call.input->rows * shape.fused_width(), [&](int, int64_t row) {
    const int64_t position = call.input->positions[row];
    const int64_t sequence = call.input->sequences[row];
    float* fused = call.fused + row * shape.fused_width();
    for (int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      call.rope->rotate(fused + head * shape.head_dim, position);
    }
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      const int64_t at = position * shape.head_dim;
      std::copy_n(fused + shape.key_offset(head), shape.head_dim,
                  call.cache->keys(call.layer, sequence, head) + at);
      std::copy_n(fused + shape.value_offset(head), shape.head_dim,
                  call.cache->values(call.layer, sequence, head) + at);
    }
  });
}

void run(const AttentionCall& call, Compute& compute) {
  int64_t work = 0;
  for (int64_t row = 0; row < call.input->rows; ++row) work += call.input->positions[row] + 1;
  const int64_t heads = call.shape.kv_heads;
  compute.for_each(call.input->rows * heads, work * call.shape.query_width() * 2,
                   [&](int, int64_t i) { attend(call, i / heads, i % heads); });
}

}  // namespace liveweight
