// The compiled map from checkpoint names and regions to live bytes. Made once, when a model is built; a
// reload interprets it. Immutable, so any number of threads may read it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/model.h"
#include "liveweight/quantization_config.h"
#include "liveweight/scheme.h"
#include "liveweight/tensor.h"
#include "liveweight/version.h"

namespace liveweight {

struct KernelFormat;  // src/quantize/kernel_format.h: where codes, scales and zero points lie in a slot

// How the prepared slots become the current ones (docs/architecture.md).
enum class CommitMode : uint8_t { kFlip, kCopy, kInPlace };
Result<CommitMode> parse_commit_mode(std::string_view name);  // "flip", "copy", "in_place"
std::string_view to_string(CommitMode mode);

// A rank's place in the tensor-parallel group.
struct TensorParallel {
  int64_t size = 1;
  int64_t rank = 0;
};

struct PlanOptions {
  QuantizationConfig quantization;  // which scheme each module has
  TensorParallel tensor_parallel;
  CommitMode mode = CommitMode::kFlip;
};

// dtype and shape of a checkpoint tensor by its canonical name; empty where the checkpoint has none of that
// name.
struct TensorFacts {
  DType dtype = DType::kBF16;
  Shape shape;
};
using TensorCatalog = std::unordered_map<std::string, TensorFacts>;

// A parameter as it lives: its place among the binding table's entries is its index in Plan::parameters.
struct PlannedParameter {
  std::string name;
  Role role = Role::kEmbedding;
  int64_t layer = -1;
  Shape shape;  // this rank's: [rows, cols], [matrices, rows, cols] for experts, [n] for norms and biases
  std::vector<std::string> sources;  // checkpoint tensors, in order
  std::shared_ptr<const KernelFormat> format;
};

class Plan {
 public:
  // Compiles the plan of `model` for the dtypes in `catalog`. Errors name the tensor, configuration entry or
  // rank.
  static Result<std::shared_ptr<const Plan>> compile(const ModelDescription& model,
                                                     const TensorCatalog& catalog,
                                                     const PlanOptions& options);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const ModelConfig& config() const;
  const std::vector<PlannedParameter>& parameters() const;
  // The parameter that plays `role` in `layer` (-1 for those outside layers), or -1. A tied head gives the
  // embedding's.
  int64_t find(Role role, int64_t layer) const;

  CommitMode mode() const;
  TensorParallel tensor_parallel() const;
  uint64_t source_bytes() const;  // of the checkpoint tensors it reads
  uint64_t live_bytes() const;    // of one slot of every parameter
  uint64_t extra_peak_bytes()
      const;                 // what a reload from a directory adds to one slot of every parameter, at most
  std::string hash() const;  // hex; equal plans and only they have equal hashes

  struct Implementation;
  const Implementation& implementation() const { return *implementation_; }

 private:
  Plan();
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace liveweight
