// The calls of a captured step. Each is a plain struct of addresses and sizes: of the input that every step
// fills in anew, of workspaces, of bindings. Nothing in them changes after the capture.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "infer/compute.h"
#include "infer/integer_linear.h"
#include "infer/kv_cache.h"
#include "infer/rope.h"
#include "infer/weight_binding.h"

namespace liveweight {

// What one step works on: `rows` tokens, of any sequences, those of one sequence in order. The arrays have
// room for the most that a step takes and never move.
struct StepInput {
  const BindingTable* table = nullptr;
  int64_t rows = 0;
  std::vector<int32_t> tokens;
  std::vector<int64_t> positions;
  std::vector<int64_t> sequences;  // places in the KV cache
  int64_t logit_rows = 0;
  std::vector<int64_t> logits_of;  // the rows whose logits are wanted
};

// Widths of the fused row of queries, keys and values.
struct HeadShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;

  int64_t query_width() const { return heads * head_dim; }
  int64_t fused_width() const { return (heads + 2 * kv_heads) * head_dim; }
  int64_t key_offset(int64_t head) const { return (heads + head) * head_dim; }
  int64_t value_offset(int64_t head) const { return (heads + kv_heads + head) * head_dim; }
};

// out[row] = the embedding of the row's token
struct EmbedCall {
  const StepInput* input;
  const WeightBinding* embedding;
  float* out;
};

// RMS norm of `groups` vectors of `width` in each row, `stride` elements from row to row; in place where out
// is x.
struct NormCall {
  const int64_t* rows;
  const WeightBinding* weight;
  const float* x;
  float* out;
  float* weight_floats;
  int64_t groups;
  int64_t width;
  int64_t stride;
  float epsilon;
};

struct LinearCall {
  const int64_t* rows;
  const WeightBinding* weight;
  const WeightBinding* bias;  // null where there is none
  const float* x;
  float* y;
  float* bias_floats;
  bool accumulate;
  IntegerWorkspace* integers;  // null where activations stay fp32
};

// Turns queries and keys by their positions, and puts keys and values into the cache.
struct RotateCall {
  const StepInput* input;
  const RopeTable* rope;
  const KvCache* cache;
  int64_t layer;
  float* fused;
  HeadShape shape;
};

// Causal attention over the cache; a row sees `window` positions up to its own, all where that is 0.
struct AttentionCall {
  const StepInput* input;
  const KvCache* cache;
  int64_t layer;
  int64_t window;
  const float* fused;
  float* out;
  HeadShape shape;
};

// out = silu(gate) * up, of rows [gate, up]
struct GateCall {
  const int64_t* rows;
  const float* gate_up;
  float* out;
  int64_t width;
};

// Chooses experts: softmax over all, the largest few, and their probabilities as weights.
struct RouteCall {
  const int64_t* rows;
  float* scores;    // [rows, experts]
  int32_t* chosen;  // [rows, count]
  float* weights;   // [rows, count]
  int64_t experts;
  int64_t count;
  bool normalize;
};

// hidden += the weighted sum of the chosen experts, added up in the experts' order.
struct ExpertsCall {
  const int64_t* rows;
  const WeightBinding* gate_up;
  const WeightBinding* down;
  const int32_t* chosen;
  const float* weights;
  int64_t count;
  const float* x;
  float* gathered;
  float* gate_up_out;
  float* gated;
  float* expert_out;
  float* sum;
  int64_t* places;  // [rows]: of the gathered rows, their place in `chosen`
  float* hidden;
  IntegerWorkspace* integers;  // null where activations stay fp32
};

// out = the rows whose logits are wanted
struct GatherCall {
  const StepInput* input;
  const float* x;
  float* out;
  int64_t width;
};

using Call = std::variant<EmbedCall, NormCall, LinearCall, RotateCall, AttentionCall, GateCall, RouteCall,
                          ExpertsCall, GatherCall>;

void run(const EmbedCall& call, Compute& compute);
void run(const NormCall& call, Compute& compute);
void run(const LinearCall& call, Compute& compute);
void run(const RotateCall& call, Compute& compute);
void run(const AttentionCall& call, Compute& compute);
void run(const GateCall& call, Compute& compute);
void run(const RouteCall& call, Compute& compute);
void run(const ExpertsCall& call, Compute& compute);
void run(const GatherCall& call, Compute& compute);

}  // namespace liveweight
