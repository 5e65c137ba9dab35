#include "live/apply.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/seam.h"
#include "live/apply_stored.h"

namespace liveweight {
namespace {

SourceBox to_box(const Source& source, const Piece& piece) {
  return {source.dtype, piece.data, piece.stride, piece.row, piece.rows, piece.col, piece.cols};
}

// The rows of the piece that hold units of which the segment keeps something.
Piece clip_rows(const Source& source, const Target& target, const Segment& segment, const Piece& piece) {
  const int64_t tile = target.tile_rows;
  const int64_t begin = std::max(piece.row, segment.source_row / tile * tile);
  const int64_t end =
      std::min(piece.row + piece.rows, (segment.source_row + segment.rows + tile - 1) / tile * tile);
  return sub_piece(source, piece, begin, std::max<int64_t>(0, end - begin), piece.col, piece.cols);
}

Status quantize_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                      const Piece& piece, std::byte* slot, const TensorUnit& unit) {
  const KernelFormat& format = *plan.parameters[target.parameter].format;
  for (const Segment& segment : target.segments) {
    const Piece kept = clip_rows(source, target, segment, piece);
    if (kept.rows == 0 || kept.cols == 0) continue;
    const SlotRegion region{&format, slot, target.matrix, segment};
    if (const auto fault = quantize_box(to_box(source, kept), region, unit)) {
      return tl::unexpected(fault_error(source, *fault));
    }
  }
  return {};
}

}  // namespace

Error fault_error(const Source& source, const QuantizeFault& fault) {
  const std::string where = position_text(source, fault.row, fault.col);
  if (fault.scale_overflow) {
    return {ErrorCode::kNonFinite,
            fmt::format("tensor {}: the unit at {} has no finite scale (its largest value is {})",
                        source.name, where, fault.value),
            {source.name}};
  }
  return {ErrorCode::kNonFinite,
          fmt::format("tensor {}: expected finite values, got {} at {}", source.name, fault.value, where),
          {source.name}};
}

Status apply_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece, std::byte* slot, const TensorUnit& unit) {
  LW_TRY(reach(Step::kQuantize));
  if (target.kind == TargetKind::kQuantize) return quantize_piece(plan, source, target, piece, slot, unit);
  LW_TRY(check_stored(source, target, piece));
  copy_stored(source, target, piece, slot);
  return {};
}

Result<float> piece_maximum(const Source& source, const Piece& piece) {
  const AmaxResult result = absolute_maximum(to_box(source, piece));
  if (result.fault) return tl::unexpected(fault_error(source, *result.fault));
  return result.amax;
}

Status check_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece) {
  if (target.kind != TargetKind::kQuantize) return check_stored(source, target, piece);
  LW_ASSIGN(const float amax, piece_maximum(source, piece));
  // Only near the dtype's largest values can a scale overflow; there the quantizer itself is asked, on memory
  // of its own.
  const float safe = source.dtype == DType::kF16 ? 1e4f : 1e37f;
  if (amax < safe || target.held || !plan.parameters[target.parameter].format->scheme.quantizes()) return {};
  std::vector<std::byte> scratch(plan.parameters[target.parameter].format->bytes);
  return quantize_piece(plan, source, target, piece, scratch.data(), TensorUnit{});
}

}  // namespace liveweight
