// A live model's weights under their checkpoint names: what an export writes, one member after another.
#pragma once

#include <string>
#include <vector>

#include "liveweight/live_model.h"
#include "liveweight/model.h"
#include "liveweight/quantization_config.h"
#include "quantize/kernel_format.h"

namespace liveweight {

// One checkpoint tensor's part of a slot; `slot` is null before the weights are there.
struct ExportMember {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  Shape shape;
  ModuleKind kind = ModuleKind::kOther;
  const KernelFormat* format = nullptr;
  const std::byte* slot = nullptr;
  int64_t matrix = 0;
  Segment segment;

  const Scheme& scheme() const { return format->scheme; }
  int64_t rows() const { return shape[0]; }
  int64_t cols() const { return format->cols; }

  // Views into the slot, shaped as rows of the part. A scale of the whole matrix is every member's own.
  TensorView codes() const;
  TensorView scale() const;
  TensorView zero_point() const;
};

// Every tensor that a checkpoint of the plan's weights has, once: a head that shares the embedding's slot is
// left out. `table` is null before the weights are there. The plan is not sharded.
std::vector<ExportMember> export_members(const ModelDescription& model, const Plan& plan,
                                         const BindingTable* table);

// Modules that a configuration may name, with the scheme that each has; shared heads too.
struct ExportModule {
  std::string name;
  ModuleKind kind = ModuleKind::kOther;
  Scheme scheme;
};
std::vector<ExportModule> export_modules(const Plan& plan, const std::vector<ExportMember>& members);

// Whether the head has weights of its own although the configuration ties it to the embedding.
bool unties_head(const Plan& plan);

}  // namespace liveweight
