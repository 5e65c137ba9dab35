// Writes down the calls of a forward pass of the Llama family.
#include <fmt/format.h>

#include <algorithm>

#include "infer/step.h"

namespace liveweight {

class StepCapture {
 public:
  StepCapture(Step& step, const LiveModel& model, const StepShape& shape)
      : step_(step),
        work_(step.workspaces_),
        model_(model),
        plan_(model.plan()),
        config_(model.plan().config()),
        shape_(shape),
        heads_{config_.heads, config_.kv_heads, config_.head_dim} {}

  Status run() {
    allocate();
    step_.bindings_.reserve(plan_.parameters().size() + 1);
    LW_TRY(bind_embedding());
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      LW_TRY(add_attention(layer));
      LW_TRY(is_sparse(layer) ? add_experts(layer) : add_feed_forward(layer));
    }
    return add_head();
  }

 private:
  static void size(AlignedVector<float>& workspace, int64_t rows, int64_t width) {
    workspace.resize(static_cast<size_t>(rows * width));
  }

  void allocate() {
    const int64_t rows = shape_.max_rows;
    const int64_t inner = std::max(config_.intermediate_size, config_.expert_intermediate_size);
    size(work_.hidden, rows, config_.hidden_size);
    size(work_.normed, rows, config_.hidden_size);
    size(work_.fused, rows, heads_.fused_width());
    size(work_.attended, rows, heads_.query_width());
    size(work_.gate_up, rows, 2 * inner);
    size(work_.gated, rows, inner);
    size(work_.last, shape_.max_logit_rows, config_.hidden_size);
    size(work_.logits, shape_.max_logit_rows, config_.vocab_size);
    size(work_.vectors, 1, std::max({config_.hidden_size, heads_.fused_width(), 2 * inner}));
    if (config_.experts > 0) allocate_experts(rows);
    if (integers()) work_.integers.resize(std::max(rows, shape_.max_logit_rows), widest_matrix(plan_));
  }

  void allocate_experts(int64_t rows) {
    size(work_.router, rows, config_.experts);
    size(work_.expert_weights, rows, config_.experts_per_token);
    size(work_.gathered, rows, config_.hidden_size);
    size(work_.expert_out, rows, config_.hidden_size);
    size(work_.expert_sum, rows, config_.hidden_size);
    work_.chosen.resize(static_cast<size_t>(rows * config_.experts_per_token));
    work_.places.resize(static_cast<size_t>(rows));
  }

  bool is_sparse(int64_t layer) const {
    return layer < static_cast<int64_t>(config_.sparse_layer.size()) && config_.sparse_layer[layer];
  }

  int64_t window_of(int64_t layer) const {
    return layer < static_cast<int64_t>(config_.sliding_window.size()) ? config_.sliding_window[layer] : 0;
  }

  // The binding of a parameter, checked to be matrices x [rows, cols].
  Result<const WeightBinding*> bind(Role role, int64_t layer, int64_t rows, int64_t cols,
                                    int64_t matrices = 1) {
    const int64_t index = plan_.find(role, layer);
    if (index < 0) {
      return fail(ErrorCode::kInternal, fmt::format("the plan has no parameter for role {} of layer {}",
                                                    static_cast<int>(role), layer));
    }
    const PlannedParameter& parameter = plan_.parameters()[index];
    const KernelFormat& format = *parameter.format;
    if (format.matrices != matrices || format.rows != rows || format.cols != cols) {
      return fail(
          ErrorCode::kInternal,
          fmt::format("parameter {}: expected {} x [{}, {}], the plan has {} x [{}, {}]", parameter.name,
                      matrices, rows, cols, format.matrices, format.rows, format.cols),
          {parameter.name});
    }
    if (shape_.capture == Capture::kTable) {
      return &step_.bindings_.emplace_back(parameter, index, &step_.input_.table);
    }
    return &step_.bindings_.emplace_back(parameter, model_.slot_address(index, 0));
  }

  Result<const WeightBinding*> bind_bias(bool present, Role role, int64_t layer, int64_t rows) {
    if (!present) return nullptr;
    return bind(role, layer, rows, 1);
  }

  Status add_norm(Role role, int64_t layer, const int64_t* rows, const AlignedVector<float>& x,
                  AlignedVector<float>& out) {
    const int64_t width = config_.hidden_size;
    LW_ASSIGN(const WeightBinding* weight, bind(role, layer, width, 1));
    step_.calls_.push_back(
        NormCall{rows, weight, x.data(), out.data(), work_.vectors.data(), 1, width, width, epsilon()});
    return {};
  }

  // Of each head, in place, where the architecture has it.
  Status add_head_norm(Role role, int64_t layer, int64_t first_head, int64_t heads) {
    LW_ASSIGN(const WeightBinding* weight, bind(role, layer, config_.head_dim, 1));
    float* at = work_.fused.data() + first_head * config_.head_dim;
    step_.calls_.push_back(NormCall{&step_.input_.rows, weight, at, at, work_.vectors.data(), heads,
                                    config_.head_dim, heads_.fused_width(), epsilon()});
    return {};
  }

  void add_linear(const WeightBinding* weight, const WeightBinding* bias, const AlignedVector<float>& x,
                  AlignedVector<float>& y, bool accumulate) {
    step_.calls_.push_back(LinearCall{&step_.input_.rows, weight, bias, x.data(), y.data(),
                                      work_.vectors.data(), accumulate, integers()});
  }

  // Null where activations stay fp32.
  IntegerWorkspace* integers() {
    return shape_.activations == Activations::kInt8PerToken ? &work_.integers : nullptr;
  }

  float epsilon() const { return static_cast<float>(config_.rms_norm_eps); }

  Status bind_embedding() {
    LW_ASSIGN(const WeightBinding* embedding,
              bind(Role::kEmbedding, -1, config_.vocab_size, config_.hidden_size));
    step_.calls_.push_back(EmbedCall{&step_.input_, embedding, work_.hidden.data()});
    return {};
  }

  Status add_attention(int64_t layer) {
    const int64_t fused = heads_.fused_width();
    LW_TRY(add_norm(Role::kInputNorm, layer, &step_.input_.rows, work_.hidden, work_.normed));
    LW_ASSIGN(const WeightBinding* qkv, bind(Role::kQkv, layer, fused, config_.hidden_size));
    LW_ASSIGN(const WeightBinding* qkv_bias, bind_bias(config_.qkv_bias, Role::kQkvBias, layer, fused));
    add_linear(qkv, qkv_bias, work_.normed, work_.fused, false);
    if (config_.qk_norm) {
      LW_TRY(add_head_norm(Role::kQueryNorm, layer, 0, config_.heads));
      LW_TRY(add_head_norm(Role::kKeyNorm, layer, config_.heads, config_.kv_heads));
    }
    step_.calls_.push_back(
        RotateCall{&step_.input_, &step_.rope_, &step_.cache_, layer, work_.fused.data(), heads_});
    step_.calls_.push_back(AttentionCall{&step_.input_, &step_.cache_, layer, window_of(layer),
                                         work_.fused.data(), work_.attended.data(), heads_});
    LW_ASSIGN(const WeightBinding* output,
              bind(Role::kOutput, layer, config_.hidden_size, heads_.query_width()));
    LW_ASSIGN(const WeightBinding* bias,
              bind_bias(config_.output_bias, Role::kOutputBias, layer, config_.hidden_size));
    add_linear(output, bias, work_.attended, work_.hidden, true);
    return add_norm(Role::kPostNorm, layer, &step_.input_.rows, work_.hidden, work_.normed);
  }

  Status add_feed_forward(int64_t layer) {
    const int64_t inner = config_.intermediate_size;
    LW_ASSIGN(const WeightBinding* gate_up, bind(Role::kGateUp, layer, 2 * inner, config_.hidden_size));
    LW_ASSIGN(const WeightBinding* gate_up_bias,
              bind_bias(config_.mlp_bias, Role::kGateUpBias, layer, 2 * inner));
    LW_ASSIGN(const WeightBinding* down, bind(Role::kDown, layer, config_.hidden_size, inner));
    LW_ASSIGN(const WeightBinding* down_bias,
              bind_bias(config_.mlp_bias, Role::kDownBias, layer, config_.hidden_size));
    add_linear(gate_up, gate_up_bias, work_.normed, work_.gate_up, false);
    step_.calls_.push_back(GateCall{&step_.input_.rows, work_.gate_up.data(), work_.gated.data(), inner});
    add_linear(down, down_bias, work_.gated, work_.hidden, true);
    return {};
  }

  Status add_experts(int64_t layer) {
    const int64_t inner = config_.expert_intermediate_size;
    const int64_t experts = config_.experts;
    LW_ASSIGN(const WeightBinding* router, bind(Role::kRouter, layer, experts, config_.hidden_size));
    LW_ASSIGN(const WeightBinding* gate_up,
              bind(Role::kExpertsGateUp, layer, 2 * inner, config_.hidden_size, experts));
    LW_ASSIGN(const WeightBinding* down,
              bind(Role::kExpertsDown, layer, config_.hidden_size, inner, experts));
    add_linear(router, nullptr, work_.normed, work_.router, false);
    step_.calls_.push_back(RouteCall{&step_.input_.rows, work_.router.data(), work_.chosen.data(),
                                     work_.expert_weights.data(), experts, config_.experts_per_token,
                                     config_.normalize_expert_weights});
    step_.calls_.push_back(ExpertsCall{&step_.input_.rows, gate_up, down, work_.chosen.data(),
                                       work_.expert_weights.data(), config_.experts_per_token,
                                       work_.normed.data(), work_.gathered.data(), work_.gate_up.data(),
                                       work_.gated.data(), work_.expert_out.data(), work_.expert_sum.data(),
                                       work_.places.data(), work_.hidden.data(), integers()});
    return {};
  }

  Status add_head() {
    const int64_t* rows = &step_.input_.logit_rows;
    step_.calls_.push_back(
        GatherCall{&step_.input_, work_.hidden.data(), work_.last.data(), config_.hidden_size});
    LW_TRY(add_norm(Role::kFinalNorm, -1, rows, work_.last, work_.last));
    LW_ASSIGN(const WeightBinding* head, bind(Role::kHead, -1, config_.vocab_size, config_.hidden_size));
    step_.calls_.push_back(
        LinearCall{rows, head, nullptr, work_.last.data(), work_.logits.data(), nullptr, false, integers()});
    return {};
  }

  Step& step_;
  Workspaces& work_;
  const LiveModel& model_;
  const Plan& plan_;
  const ModelConfig& config_;
  const StepShape& shape_;
  const HeadShape heads_;
};

namespace {

// Integer products that no weight would take are a mistake that nobody should have to find by a profile.
Status check_activations(const Plan& plan, Activations activations) {
  if (activations == Activations::kFp32) return {};
  for (const PlannedParameter& parameter : plan.parameters()) {
    if (takes_integers(*parameter.format)) return {};
  }
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format(
          "activations: int8_per_token expects symmetric weights, int8 with one scale a row or a matrix "
          "or int4 with one a group, of at most {} columns, and the model has none",
          kMostIntegerCols),
      {"activations"});
}

}  // namespace

Result<std::unique_ptr<Step>> Step::capture(const LiveModel& model, const StepShape& shape) {
  const Plan& plan = model.plan();
  if (const TensorParallel group = plan.tensor_parallel(); group.size != 1) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("expected a whole model to run, got rank {} of {}", group.rank, group.size));
  }
  if (shape.capture == Capture::kSlotAddresses && plan.mode() == CommitMode::kFlip) {
    return fail(ErrorCode::kInvalidArgument,
                "a step that holds slot addresses needs the commit mode copy or in_place, got flip");
  }
  LW_TRY(check_activations(plan, shape.activations));
  const ModelConfig& config = plan.config();
  LW_ASSIGN(KvCache cache, KvCache::allocate({config.layers, shape.sequences, config.kv_heads,
                                              shape.max_tokens, config.head_dim}));
  std::unique_ptr<Step> step(new Step(model, shape, std::move(cache)));
  LW_TRY(StepCapture(*step, model, shape).run());
  return step;
}

}  // namespace liveweight
