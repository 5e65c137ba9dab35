#include "live/stored_layout.h"

#include "live/module_names.h"

namespace liveweight {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// A per-tensor scale may have any rank, so the catalog's own shape is taken where it holds one element.
Shape scale_shape(const Scheme& scheme, const Member& member, const std::string& name,
                  const TensorCatalog& catalog) {
  const int64_t rows = member.shape[0], cols = member.shape[1];
  switch (scheme.granularity) {
    case Granularity::kTensor: {
      const auto found = catalog.find(name);
      const bool scalar = found != catalog.end() && found->second.shape.size() <= 2 &&
                          element_count(found->second.shape) == 1;
      return scalar ? found->second.shape : Shape{1};
    }
    case Granularity::kRow:
      return {rows, 1};
    case Granularity::kGroup:
      return {rows, ceil_div(cols, scheme.size)};
    default:
      return {ceil_div(rows, scheme.size), ceil_div(cols, scheme.size)};
  }
}

StoredLayout compressed_tensors_layout(const Scheme& scheme, const Member& member, const std::string& stem) {
  const int64_t rows = member.shape[0], cols = member.shape[1];
  StoredLayout layout;
  layout.codes = {stem + "weight", member.shape};
  layout.scale.name = stem + "weight_scale";
  if (scheme.element != Element::kInt4) return layout;
  layout.codes = {stem + "weight_packed", {rows, ceil_div(cols, 8)}, TargetKind::kCopy, 8};
  layout.shape = {stem + "weight_shape", {2}, TargetKind::kExpectShape};
  if (scheme.profile == Profile::kCompressedTensorsAsymmetric) {
    layout.zero_point = {stem + "weight_zero_point",
                         {ceil_div(rows, 8), ceil_div(cols, scheme.size)},
                         TargetKind::kUnpackZero};
  }
  return layout;
}

// Int4Tensor (two codes a byte, scales and zero points transposed), or IntxUnpackedToInt8Tensor (one a byte).
StoredLayout torchao_layout(const Scheme& scheme, const Member& member, const std::string& stem,
                            const TensorCatalog& catalog) {
  const int64_t rows = member.shape[0], cols = member.shape[1];
  StoredLayout layout;
  layout.codes = {stem + "_weight_qdata", member.shape};
  layout.scale.name = stem + "_weight_scale";
  const std::string zero = stem + "_weight_zero_point";
  if (scheme.element == Element::kInt4) {
    const Shape groups{rows, ceil_div(cols, scheme.size)}, transposed{groups[1], groups[0]};
    const bool one_a_byte = scheme.profile == Profile::kTorchaoIntx;
    if (one_a_byte) {
      layout.codes.kind = TargetKind::kPackCodes;
      layout.zero_point = {zero, groups};
    } else {
      layout.codes = {layout.codes.name, {rows, ceil_div(cols, 2)}, TargetKind::kCopyPairs, 2};
      layout.scale = {layout.scale.name, transposed, TargetKind::kCopyTransposed};
      layout.zero_point = {zero, transposed, TargetKind::kCopyTransposed};
    }
  } else if (const auto found = catalog.find(zero); found != catalog.end()) {
    layout.zero_point = {zero, found->second.shape, TargetKind::kExpectZero};
  }
  return layout;
}

}  // namespace

StoredLayout stored_layout(const std::string& method, const Scheme& scheme, const Member& member,
                           const TensorCatalog& catalog) {
  const std::string stem = module_of(member.name) + ".";
  StoredLayout layout;
  if (method == "fp8") {
    layout.codes = {stem + "weight", member.shape};
    layout.scale.name = stem + "weight_scale_inv";
  } else if (method == "torchao") {
    layout = torchao_layout(scheme, member, stem, catalog);
  } else {
    layout = compressed_tensors_layout(scheme, member, stem);
  }
  if (layout.scale.shape.empty()) {
    layout.scale.shape = scale_shape(scheme, member, layout.scale.name, catalog);
  }
  return layout;
}

std::vector<DType> stored_code_dtypes(const std::string& method, const Scheme& scheme) {
  if (scheme.element == Element::kE4M3) return {DType::kF8E4M3};
  if (scheme.element == Element::kInt8) return {DType::kI8};
  if (method != "torchao") return {DType::kI32};
  if (scheme.profile == Profile::kTorchaoIntx) return {DType::kI8};
  return {DType::kI8, DType::kU8};
}

}  // namespace liveweight
