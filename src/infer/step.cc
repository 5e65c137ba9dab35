#include "infer/step.h"

#include <algorithm>

#include "infer/linear.h"

namespace liveweight {

int64_t widest_matrix(const Plan& plan) {
  int64_t cols = 1;
  for (const PlannedParameter& parameter : plan.parameters()) cols = std::max(cols, parameter.format->cols);
  return cols;
}

std::vector<const void*> Workspaces::addresses() const {
  return {hidden.data(),         normed.data(),   fused.data(),      attended.data(),   gate_up.data(),
          gated.data(),          last.data(),     logits.data(),     vectors.data(),    router.data(),
          expert_weights.data(), gathered.data(), expert_out.data(), expert_sum.data(), chosen.data(),
          places.data(),         integers.data()};
}

Step::Step(const LiveModel& model, const StepShape& shape, KvCache cache)
    : vocab_size_(model.plan().config().vocab_size),
      cache_(std::move(cache)),
      rope_(model.plan().config().rope, model.plan().config().head_dim, shape.max_tokens),
      compute_(shape.threads, linear_scratch_floats(widest_matrix(model.plan()))) {
  input_.tokens.resize(static_cast<size_t>(shape.max_rows));
  input_.positions.resize(static_cast<size_t>(shape.max_rows));
  input_.sequences.resize(static_cast<size_t>(shape.max_rows));
  input_.logits_of.resize(static_cast<size_t>(shape.max_logit_rows));
}

void Step::run(const BindingTable& table) {
  input_.table = &table;
  for (const Call& call : calls_) {
    std::visit([this](const auto& operation) { liveweight::run(operation, compute_); }, call);
  }
  input_.table = nullptr;
}

std::vector<const void*> Step::addresses() const {
  std::vector<const void*> all = workspaces_.addresses();
  for (const void* address :
       {static_cast<const void*>(&input_), static_cast<const void*>(input_.tokens.data()),
        static_cast<const void*>(input_.positions.data()), static_cast<const void*>(input_.sequences.data()),
        static_cast<const void*>(input_.logits_of.data()), cache_.data(), rope_.data(),
        static_cast<const void*>(bindings_.data()), static_cast<const void*>(calls_.data())}) {
    all.push_back(address);
  }
  for (const WeightBinding& binding : bindings_) all.push_back(binding.address());
  return all;
}

}  // namespace liveweight
