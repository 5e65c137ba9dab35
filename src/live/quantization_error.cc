#include "liveweight/quantization_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/threads.h"
#include "live/piece.h"
#include "quantize/quantize.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

struct Sums {
  int64_t elements = 0;
  double squares = 0;
  double squared_errors = 0;
  double largest = 0;

  void add(float weight, float live) {
    const double error = static_cast<double>(live) - static_cast<double>(weight);
    ++elements;
    squares += static_cast<double>(weight) * static_cast<double>(weight);
    squared_errors += error * error;
    largest = std::max(largest, std::abs(error));
  }

  void add(const Sums& other) {
    elements += other.elements;
    squares += other.squares;
    squared_errors += other.squared_errors;
    largest = std::max(largest, other.largest);
  }

  QuantizationError error() const {
    return {elements, squares > 0 ? std::sqrt(squared_errors / squares) : 0, largest};
  }
};

using Pieces = std::vector<std::optional<Piece>>;  // by source

// Every tensor of the checkpoint, whole, beside the source that it is; of a tie's two names one is enough.
Result<Pieces> pieces_of(const Plan::Implementation& plan, const Checkpoint& checkpoint,
                         const NameMap& names) {
  Pieces pieces(plan.sources.size());
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    LW_ASSIGN(const std::string name, names.canonical(tensor.name));
    if (is_ignored_tensor(name)) continue;
    const int32_t index = plan.find_source(name);
    if (index < 0) {
      return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {}: the model has none of that name", name),
                  {name});
    }
    const Source& source = plan.sources[index];
    LW_ASSIGN(const PieceList whole, whole_pieces(source, tensor.view));
    pieces[source.alias_of < 0 ? index : source.alias_of] = *whole.begin();
  }
  return pieces;
}

Status check_comparable(const Plan::Implementation& plan, const Pieces& pieces) {
  for (size_t i = 0; i < plan.sources.size(); ++i) {
    const Source& source = plan.sources[i];
    if (source.alias_of >= 0) continue;
    if (!pieces[i]) {
      return fail(ErrorCode::kMissingTensor, fmt::format("tensor {}: the checkpoint has none", source.name),
                  {source.name});
    }
    const auto stored = std::find_if(source.targets.begin(), source.targets.end(), [](const Target& target) {
      return target.kind != TargetKind::kQuantize;
    });
    if (stored == source.targets.end()) continue;
    return fail(ErrorCode::kUnsupported,
                fmt::format("tensor {}: expected high-precision weights to compare with, got a checkpoint "
                            "that is quantized itself",
                            source.name),
                {source.name});
  }
  return {};
}

Sums compare(const KernelFormat& format, const std::byte* slot, const Source& source, const Target& target,
             const Piece& piece) {
  Sums sums;
  std::vector<float> live(static_cast<size_t>(format.cols));
  for (const Segment& segment : target.segments) {
    for (int64_t row = 0; row < segment.rows; ++row) {
      dequantize_row(format, slot, target.matrix, segment.row + row, live.data());
      const std::byte* weights = element_at(source, piece, segment.source_row + row, format.source_col);
      for (int64_t col = 0; col < format.cols; ++col) {
        sums.add(load_high_precision(source.dtype, weights, col), live[col]);
      }
    }
  }
  return sums;
}

// Added up in the order of the plan, whichever thread was first: equal models have equal reports.
QuantizationErrorReport report_of(const Plan::Implementation& plan,
                                  const std::vector<std::vector<Sums>>& by_target) {
  std::vector<Sums> by_parameter(plan.parameters.size());
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const std::vector<Target>& targets = plan.sources[s].targets;
    for (size_t t = 0; t < targets.size(); ++t) by_parameter[targets[t].parameter].add(by_target[s][t]);
  }
  QuantizationErrorReport report;
  Sums quantized;
  for (size_t p = 0; p < plan.parameters.size(); ++p) {
    const PlannedParameter& parameter = plan.parameters[p];
    if (parameter.format->scheme.quantizes()) quantized.add(by_parameter[p]);
    report.parameters.push_back({parameter.name, parameter.format->scheme, by_parameter[p].error()});
  }
  report.quantized = quantized.error();
  return report;
}

}  // namespace

Result<QuantizationErrorReport> quantization_error_of(const LiveModel& model, const Snapshot& snapshot,
                                                      const Checkpoint& checkpoint, const NameMap& names) {
  const Plan::Implementation& plan = model.plan().implementation();
  LW_ASSIGN(const Pieces pieces, pieces_of(plan, checkpoint, names));
  LW_TRY(check_comparable(plan, pieces));
  std::vector<std::vector<Sums>> by_target(plan.sources.size());
  ThreadPool::shared().parallel_for(static_cast<int64_t>(plan.sources.size()), [&](int64_t i) {
    for (const Target& target : plan.sources[i].targets) {
      by_target[i].push_back(compare(*plan.parameters[target.parameter].format,
                                     snapshot.table().slots[target.parameter], plan.sources[i], target,
                                     *pieces[i]));
    }
  });
  return report_of(plan, by_target);
}

}  // namespace liveweight
