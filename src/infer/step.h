// A forward pass, captured once: a plain list of calls over the addresses of bindings and workspaces. Running
// it allocates nothing and rebuilds nothing. One caller at a time.
#pragma once

#include <memory>
#include <vector>

#include "infer/aligned.h"
#include "infer/calls.h"
#include "liveweight/engine.h"

namespace liveweight {

struct StepShape {
  int64_t max_rows = 0;        // tokens in a step
  int64_t max_logit_rows = 0;  // rows of logits in a step
  int64_t sequences = 0;
  int64_t max_tokens = 0;  // positions of a sequence
  int threads = 1;
  Capture capture = Capture::kTable;
  Activations activations = Activations::kFp32;
};

// The columns of the plan's widest matrix.
int64_t widest_matrix(const Plan& plan);

// Every intermediate result, by name; sized at capture.
struct Workspaces {
  AlignedVector<float> hidden, normed, fused, attended, gate_up, gated, last, logits, vectors;
  AlignedVector<float> router, expert_weights, gathered, expert_out, expert_sum;
  std::vector<int32_t> chosen;
  std::vector<int64_t> places;
  IntegerWorkspace integers;

  std::vector<const void*> addresses() const;
};

class Step {
 public:
  // kUnsupported for a rank of a tensor-parallel group; kInvalidArgument for slot addresses of a model whose
  // commits flip and for integer products where no weight takes them; kInternal where the plan lacks a
  // parameter or has one of another shape. `model` must outlive the step.
  static Result<std::unique_ptr<Step>> capture(const LiveModel& model, const StepShape& shape);

  StepInput& input() { return input_; }

  // Runs `input` on the weights of the table, which a snapshot must pin meanwhile.
  void run(const BindingTable& table);

  // After `run`: the logits of input().logits_of[i].
  const float* logits(int64_t i) const { return workspaces_.logits.data() + i * vocab_size_; }

  // Of everything that the calls hold: the same before and after any reload.
  std::vector<const void*> addresses() const;

 private:
  friend class StepCapture;
  Step(const LiveModel& model, const StepShape& shape, KvCache cache);

  int64_t vocab_size_;
  StepInput input_;
  Workspaces workspaces_;
  KvCache cache_;
  RopeTable rope_;
  Compute compute_;
  std::vector<WeightBinding> bindings_;
  std::vector<Call> calls_;
};

}  // namespace liveweight
