#include "live/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/codec.h"

namespace liveweight {
namespace {

std::string position(const Source& source, int64_t row, int64_t col) {
  if (source.shape.empty()) return "[]";
  return source.shape.size() == 1 ? fmt::format("[{}]", row) : fmt::format("[{}, {}]", row, col);
}

Error fault_error(const Source& source, const QuantizeFault& fault) {
  const std::string where = position(source, fault.row, fault.col);
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

bool is_finite(DType dtype, const std::byte* element) {
  switch (dtype) {
    case DType::kF8E4M3:
      return (std::to_integer<int>(*element) & 0x7f) != 0x7f;
    case DType::kBF16:
    case DType::kF16:
    case DType::kF32:
      return std::isfinite(load_high_precision(dtype, element, 0));
    default:
      return true;
  }
}

Status check_finite(const Source& source, const Piece& piece) {
  const int64_t each = element_bytes(source);
  for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
    const std::byte* element = element_at(source, piece, row, piece.col);
    for (int64_t i = 0; i < piece.cols; ++i, element += each) {
      if (is_finite(source.dtype, element)) continue;
      return fail(ErrorCode::kNonFinite,
                  fmt::format("tensor {}: expected finite values, got one that is not at {}", source.name,
                              position(source, row, piece.col + i)),
                  {source.name});
    }
  }
  return {};
}

struct Overlap {
  int64_t row, rows, col, cols;
};

Overlap overlap(const CopySpan& span, const Piece& piece) {
  const int64_t row = std::max(span.source_row, piece.row), col = std::max(span.source_col, piece.col);
  const int64_t end_row = std::min(span.source_row + span.rows, piece.row + piece.rows);
  const int64_t end_col = std::min(span.source_col + span.cols, piece.col + piece.cols);
  return {row, std::max<int64_t>(0, end_row - row), col, std::max<int64_t>(0, end_col - col)};
}

void copy_span(const Source& source, const CopySpan& span, const Piece& piece, std::byte* slot) {
  const Overlap part = overlap(span, piece);
  const int64_t each = element_bytes(source);
  for (int64_t row = part.row; row < part.row + part.rows && part.cols > 0; ++row) {
    std::byte* to =
        slot + span.offset + (row - span.source_row) * span.row_bytes + (part.col - span.source_col) * each;
    std::memcpy(to, element_at(source, piece, row, part.col), part.cols * each);
  }
}

// Word row w holds the zero points, plus 8, of rows 8 w to 8 w + 7; the span's rows are zero points, not
// words.
void unpack_zero_points(const Source& source, const CopySpan& span, const Piece& piece, std::byte* slot) {
  for (int64_t row = span.source_row; row < span.source_row + span.rows; ++row) {
    const int64_t word_row = row / 8;
    if (word_row < piece.row || word_row >= piece.row + piece.rows) continue;
    const int64_t begin = std::max(span.source_col, piece.col);
    const int64_t end = std::min(span.source_col + span.cols, piece.col + piece.cols);
    for (int64_t col = begin; col < end; ++col) {
      uint32_t word = 0;
      std::memcpy(&word, element_at(source, piece, word_row, col), sizeof word);
      const auto zero = static_cast<int8_t>(static_cast<int>(word >> (row % 8 * 4) & 15u) - 8);
      slot[span.offset + (row - span.source_row) * span.row_bytes + (col - span.source_col)] =
          static_cast<std::byte>(zero);
    }
  }
}

Status check_shape(const Source& source, const Target& target, const Piece& piece) {
  for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
    int64_t got = 0;
    std::memcpy(&got, element_at(source, piece, row, 0), static_cast<size_t>(element_bytes(source)));
    if (got == target.expected[row]) continue;
    return fail(
        ErrorCode::kWrongShape,
        fmt::format("tensor {}: expected {} at [{}], got {}", source.name, target.expected[row], row, got),
        {source.name});
  }
  return {};
}

}  // namespace

Status apply_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece, std::byte* slot, const TensorUnit& unit) {
  if (target.kind == TargetKind::kQuantize) return quantize_piece(plan, source, target, piece, slot, unit);
  if (target.kind == TargetKind::kExpectShape) return check_shape(source, target, piece);
  LW_TRY(check_finite(source, piece));
  for (const CopySpan& span : target.spans) {
    if (target.kind == TargetKind::kCopy) {
      copy_span(source, span, piece, slot);
    } else {
      unpack_zero_points(source, span, piece, slot);
    }
  }
  return {};
}

Result<float> piece_maximum(const Source& source, const Piece& piece) {
  const AmaxResult result = absolute_maximum(to_box(source, piece));
  if (result.fault) return tl::unexpected(fault_error(source, *result.fault));
  return result.amax;
}

Status check_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece) {
  if (target.kind == TargetKind::kExpectShape) return check_shape(source, target, piece);
  if (target.kind != TargetKind::kQuantize) return check_finite(source, piece);
  LW_ASSIGN(const float amax, piece_maximum(source, piece));
  // Only near the dtype's largest values can a scale overflow; there the quantizer itself is asked, on memory
  // of its own.
  const float safe = source.dtype == DType::kF16 ? 1e4f : 1e37f;
  if (amax < safe || target.held || !plan.parameters[target.parameter].format->scheme.quantizes()) return {};
  std::vector<std::byte> scratch(plan.parameters[target.parameter].format->bytes);
  return quantize_piece(plan, source, target, piece, scratch.data(), TensorUnit{});
}

}  // namespace liveweight
