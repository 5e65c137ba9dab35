#include "liveweight/plan.h"

#include <fmt/format.h>

#include "live/plan_hash.h"
#include "live/plan_tables.h"

namespace liveweight {

Result<CommitMode> parse_commit_mode(std::string_view name) {
  for (const CommitMode mode : {CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace}) {
    if (to_string(mode) == name) return mode;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("mode: expected flip, copy or in_place, got {}", name));
}

std::string_view to_string(CommitMode mode) {
  switch (mode) {
    case CommitMode::kFlip:
      return "flip";
    case CommitMode::kCopy:
      return "copy";
    case CommitMode::kInPlace:
      return "in_place";
  }
  return "flip";
}

Plan::Plan() = default;
Plan::~Plan() = default;

const ModelConfig& Plan::config() const {
  return implementation_->config;
}
const std::vector<PlannedParameter>& Plan::parameters() const {
  return implementation_->parameters;
}
CommitMode Plan::mode() const {
  return implementation_->options.mode;
}
TensorParallel Plan::tensor_parallel() const {
  return implementation_->options.tensor_parallel;
}
uint64_t Plan::source_bytes() const {
  return implementation_->source_bytes;
}
uint64_t Plan::live_bytes() const {
  return implementation_->live_bytes;
}
uint64_t Plan::extra_peak_bytes() const {
  return implementation_->extra_peak_bytes;
}
std::string Plan::hash() const {
  return implementation_->hash;
}

}  // namespace liveweight
