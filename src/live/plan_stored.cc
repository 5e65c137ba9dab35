// Parameters whose checkpoint is quantized already: codes, scales and zero points are taken as they are.
#include <fmt/format.h>

#include <algorithm>

#include "live/plan_compiler.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

CopySpan code_span(const KernelFormat& format, int64_t per_element, int64_t matrix, const Segment& segment) {
  return {segment.source_row,
          segment.rows,
          format.source_col / per_element,
          ceil_div(format.cols, per_element),
          row_offset(format.data, matrix, segment.row),
          format.data.row_bytes};
}

// Of scales and zero points, rows and columns as the slot has them.
CopySpan unit_span(const KernelFormat& format, const Part& part, int64_t matrix, const Segment& segment) {
  const Scheme& scheme = format.scheme;
  CopySpan span{segment.source_row, segment.rows, 0, part.cols, row_offset(part, matrix, segment.scale_row),
                part.row_bytes};
  if (scheme.granularity == Granularity::kTensor) span.source_row = 0, span.rows = 1;
  if (scheme.granularity == Granularity::kBlock) {
    span.source_row = segment.source_row / scheme.size;
    span.rows = ceil_div(segment.source_row + segment.rows, scheme.size) - span.source_row;
  }
  if (scheme.size > 0) span.source_col = format.source_col / scheme.size;
  return span;
}

Status check_dtype(const std::string& name, bool good, std::string_view expected, DType got) {
  if (good) return {};
  return fail(ErrorCode::kWrongDtype,
              fmt::format("tensor {}: expected {}, got {}", name, expected, to_string(got)), {name});
}

Status check_cut(const ParameterDescription& parameter, const ParameterCut& cut, const StoredTensor& codes) {
  const int64_t together = codes.codes_per_element;
  const bool whole = cut.source_col % together == 0 &&
                     (cut.cols % together == 0 || cut.source_col + cut.cols == parameter.cols);
  if (whole) return {};
  return fail(ErrorCode::kUnsupported,
              fmt::format("{}: packed int4 columns {} to {} of this rank are not whole elements of {} codes",
                          parameter.name, cut.source_col, cut.source_col + cut.cols, together),
              {parameter.name});
}

}  // namespace

Status PlanCompiler::add_stored(const ParameterDescription& parameter, const ParameterCut& cut,
                                const Scheme& scheme) {
  const std::string method = plan_->options.quantization.method();
  const StoredLayout first = stored_layout(method, scheme, parameter.members[0], catalog_);
  LW_TRY(check_cut(parameter, cut, first.codes));
  LW_ASSIGN(const TensorFacts scale, facts_of(first.scale.name, parameter.name));
  LW_TRY(check_dtype(first.scale.name, is_high_precision(scale.dtype), "BF16, F16 or F32", scale.dtype));
  std::optional<DType> zero_dtype;
  if (!first.zero_point.name.empty() && first.zero_point.kind != TargetKind::kExpectZero) {
    zero_dtype = first.zero_point.kind == TargetKind::kCopyTransposed ? scale.dtype : DType::kI8;
  }
  KernelFormat format = make_stored_format(
      scheme, scale.dtype, zero_dtype, scheme.granularity == Granularity::kTensor, cut_shape(parameter, cut));
  const int32_t index = add_planned(parameter, std::move(format), cut);
  int32_t member_index = 0;
  int64_t matrix = 0;
  for (const Member& member : parameter.members) {
    if (member.matrix != matrix) member_index = 0;
    matrix = member.matrix;
    std::vector<Segment> segments;
    for (size_t i = 0; i < cut.members.size(); ++i) {
      if (cut.members[i].member == member_index)
        segments.push_back(plan_->parameters[index].format->segments[i]);
    }
    LW_TRY(add_stored_member(member, index, segments));
    ++member_index;
  }
  return {};
}

Result<Target*> PlanCompiler::add_stored_tensor(const StoredTensor& tensor, const std::vector<DType>& dtypes,
                                                int32_t index, int64_t matrix) {
  LW_ASSIGN(const int32_t source, add_source(tensor.name, tensor.shape, plan_->parameters[index].name));
  const DType got = plan_->sources[source].dtype;
  const bool good = std::find(dtypes.begin(), dtypes.end(), got) != dtypes.end();
  LW_TRY(check_dtype(tensor.name, good, to_string(dtypes[0]), got));
  plan_->parameter_sources[index].push_back(source);
  Target target;
  target.kind = tensor.kind;
  target.parameter = index;
  target.matrix = static_cast<int32_t>(matrix);
  plan_->sources[source].targets.push_back(std::move(target));
  return &plan_->sources[source].targets.back();
}

Status PlanCompiler::add_stored_member(const Member& member, int32_t index,
                                       const std::vector<Segment>& segments) {
  const KernelFormat& format = *plan_->parameters[index].format;
  const std::string method = plan_->options.quantization.method();
  const StoredLayout layout = stored_layout(method, format.scheme, member, catalog_);
  LW_ASSIGN(Target * codes,
            add_stored_tensor(layout.codes, stored_code_dtypes(method, format.scheme), index, member.matrix));
  if (codes->kind == TargetKind::kPackCodes) {
    // Two codes that share a byte cannot be written apart.
    codes->tile_cols = format.source_col % 2 == 0 ? 2 : member.shape[1];
  }
  for (const Segment& segment : segments) {
    codes->spans.push_back(code_span(format, layout.codes.codes_per_element, member.matrix, segment));
  }
  const auto add_units = [&](const StoredTensor& tensor, const Part& part, DType dtype) -> Status {
    LW_ASSIGN(Target * target, add_stored_tensor(tensor, {dtype}, index, member.matrix));
    if (tensor.kind == TargetKind::kExpectZero) return {};
    for (const Segment& segment : segments) {
      target->spans.push_back(unit_span(format, part, member.matrix, segment));
    }
    return {};
  };
  LW_TRY(add_units(layout.scale, format.scale, format.scale.dtype));
  if (!layout.zero_point.name.empty()) {
    const DType packed = layout.zero_point.kind == TargetKind::kUnpackZero ? DType::kI32 : DType::kI8;
    const bool floating = layout.zero_point.kind == TargetKind::kCopyTransposed;
    LW_TRY(add_units(layout.zero_point, format.zero_point, floating ? format.zero_point.dtype : packed));
  }
  if (!layout.shape.name.empty()) {
    LW_ASSIGN(Target * shape, add_stored_tensor(layout.shape, {DType::kI64}, index, member.matrix));
    shape->expected = member.shape;
  }
  return {};
}

}  // namespace liveweight
