// Parameters whose checkpoint is quantized already: codes, scales and zero points are copied as they are.
#include <fmt/format.h>

#include <algorithm>

#include "live/plan_compiler.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// "model.layers.0.mlp.down_proj." of "model.layers.0.mlp.down_proj.weight".
std::string stem_of(const std::string& tensor) {
  return tensor.substr(0, tensor.rfind('.') + 1);
}

// How a format names its tensors.
struct StoredNames {
  std::string data, scale, zero_point, shape;  // empty where it has none
};

StoredNames names_of(const std::string& tensor, const std::string& method, const Scheme& scheme) {
  const std::string stem = stem_of(tensor);
  if (method == "fp8") return {stem + "weight", stem + "weight_scale_inv", "", ""};
  if (scheme.element != Element::kInt4) return {stem + "weight", stem + "weight_scale", "", ""};
  const bool asymmetric = scheme.profile == Profile::kCompressedTensorsAsymmetric;
  return {stem + "weight_packed", stem + "weight_scale", asymmetric ? stem + "weight_zero_point" : "",
          stem + "weight_shape"};
}

Shape data_shape(const Scheme& scheme, const Member& member) {
  if (scheme.element != Element::kInt4) return member.shape;
  return {member.shape[0], ceil_div(member.shape[1], 8)};
}

// Of the whole member; a per-tensor scale may be [1] or rank 0, so the catalog's own shape is taken where it
// holds one.
Shape scale_shape(const Scheme& scheme, const Member& member, const TensorFacts& facts) {
  const int64_t rows = member.shape[0], cols = member.shape[1];
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return element_count(facts.shape) == 1 && facts.shape.size() <= 1 ? facts.shape : Shape{1};
    case Granularity::kRow:
      return {rows, 1};
    case Granularity::kGroup:
      return {rows, ceil_div(cols, scheme.size)};
    default:
      return {ceil_div(rows, scheme.size), ceil_div(cols, scheme.size)};
  }
}

CopySpan data_span(const KernelFormat& format, int64_t matrix, const Segment& segment) {
  const int64_t per_word = format.scheme.element == Element::kInt4 ? 8 : 1;
  return {segment.source_row,
          segment.rows,
          format.source_col / per_word,
          ceil_div(format.cols, per_word),
          row_offset(format.data, matrix, segment.row),
          format.data.row_bytes};
}

CopySpan scale_span(const KernelFormat& format, const Part& part, int64_t matrix, const Segment& segment) {
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

bool is_code_dtype(const Scheme& scheme, DType dtype) {
  switch (scheme.element) {
    case Element::kE4M3:
      return dtype == DType::kF8E4M3;
    case Element::kInt8:
      return dtype == DType::kI8;
    default:
      return dtype == DType::kI32;
  }
}

Status check_dtype(const std::string& name, bool good, const char* expected, DType got) {
  if (good) return {};
  return fail(ErrorCode::kWrongDtype,
              fmt::format("tensor {}: expected {}, got {}", name, expected, to_string(got)), {name});
}

Status check_cut(const ParameterDescription& parameter, const ParameterCut& cut, const Scheme& scheme) {
  const bool whole_words =
      cut.source_col % 8 == 0 && (cut.cols % 8 == 0 || cut.source_col + cut.cols == parameter.cols);
  if (scheme.element != Element::kInt4 || whole_words) return {};
  return fail(ErrorCode::kUnsupported,
              fmt::format("{}: packed int4 columns {} to {} of this rank are not whole words of 8",
                          parameter.name, cut.source_col, cut.source_col + cut.cols),
              {parameter.name});
}

}  // namespace

Status PlanCompiler::add_stored(const ParameterDescription& parameter, const ParameterCut& cut,
                                const Scheme& scheme) {
  LW_TRY(check_cut(parameter, cut, scheme));
  const StoredNames first = names_of(parameter.members[0].name, plan_->options.quantization.method(), scheme);
  LW_ASSIGN(const TensorFacts data, facts_of(first.data, parameter.name));
  LW_TRY(check_dtype(first.data, is_code_dtype(scheme, data.dtype), to_string(scheme).c_str(), data.dtype));
  LW_ASSIGN(const TensorFacts scale, facts_of(first.scale, parameter.name));
  LW_TRY(check_dtype(first.scale, is_high_precision(scale.dtype), "BF16, F16 or F32", scale.dtype));
  KernelFormat format =
      make_stored_format(scheme, scale.dtype, scale.dtype, !first.zero_point.empty(),
                         scheme.granularity == Granularity::kTensor, cut_shape(parameter, cut));
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
    LW_TRY(add_stored_member(parameter, member, index, segments));
    ++member_index;
  }
  return {};
}

Status PlanCompiler::add_stored_member(const ParameterDescription& parameter, const Member& member,
                                       int32_t index, const std::vector<Segment>& segments) {
  const KernelFormat& format = *plan_->parameters[index].format;
  const Scheme& scheme = format.scheme;
  const StoredNames names = names_of(member.name, plan_->options.quantization.method(), scheme);
  const auto add = [&](const std::string& name, const Shape& shape, DType dtype,
                       TargetKind kind) -> Result<Target*> {
    LW_ASSIGN(const int32_t source, add_source(name, shape, parameter.name));
    LW_TRY(check_dtype(name, plan_->sources[source].dtype == dtype, std::string(to_string(dtype)).c_str(),
                       plan_->sources[source].dtype));
    plan_->parameter_sources[index].push_back(source);
    Target target;
    target.kind = kind;
    target.parameter = index;
    target.matrix = static_cast<int32_t>(member.matrix);
    plan_->sources[source].targets.push_back(std::move(target));
    return &plan_->sources[source].targets.back();
  };
  const DType code = scheme.element == Element::kInt4 ? DType::kI32 : format.data.dtype;
  LW_ASSIGN(Target * data, add(names.data, data_shape(scheme, member), code, TargetKind::kCopy));
  for (const Segment& segment : segments) data->spans.push_back(data_span(format, member.matrix, segment));
  LW_ASSIGN(const TensorFacts scale_facts, facts_of(names.scale, parameter.name));
  LW_ASSIGN(Target * scale, add(names.scale, scale_shape(scheme, member, scale_facts), format.scale.dtype,
                                TargetKind::kCopy));
  for (const Segment& segment : segments) {
    scale->spans.push_back(scale_span(format, format.scale, member.matrix, segment));
  }
  if (!names.zero_point.empty()) {
    const Shape shape{ceil_div(member.shape[0], 8), ceil_div(member.shape[1], scheme.size)};
    LW_ASSIGN(Target * zero, add(names.zero_point, shape, DType::kI32, TargetKind::kUnpackZero));
    for (const Segment& segment : segments) {
      zero->spans.push_back(scale_span(format, format.zero_point, member.matrix, segment));
    }
  }
  if (!names.shape.empty()) {
    LW_ASSIGN(Target * shape, add(names.shape, {2}, DType::kI64, TargetKind::kExpectShape));
    shape->expected = member.shape;
  }
  return {};
}

}  // namespace liveweight
