#include "live/apply_stored.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/codec.h"

namespace liveweight {
namespace {

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

int code_at(const std::byte* element) {
  return static_cast<int8_t>(*element);
}

// Stops at the first element that `good` refuses.
template <typename Good>
Status check_elements(const Source& source, const Piece& piece, ErrorCode code, const char* expected,
                      const Good& good) {
  const int64_t each = element_bytes(source);
  for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
    const std::byte* element = element_at(source, piece, row, piece.col);
    for (int64_t i = 0; i < piece.cols; ++i, element += each) {
      if (good(element)) continue;
      return fail(code,
                  fmt::format("tensor {}: expected {}, got one that is not at {}", source.name, expected,
                              position_text(source, row, piece.col + i)),
                  {source.name});
    }
  }
  return {};
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

// The span's rows are the source's columns.
void copy_transposed(const Source& source, const CopySpan& span, const Piece& piece, std::byte* slot) {
  const Overlap part = overlap(span, {piece.col, piece.cols, piece.row, piece.rows, nullptr, 0});
  const int64_t each = element_bytes(source);
  for (int64_t row = part.row; row < part.row + part.rows; ++row) {
    std::byte* to = slot + span.offset + (row - span.source_row) * span.row_bytes;
    for (int64_t col = part.col; col < part.col + part.cols; ++col) {
      std::memcpy(to + (col - span.source_col) * each, element_at(source, piece, col, row), each);
    }
  }
}

// Both nibbles of every byte from two's complement to code + 8.
void copy_pairs(const Source& source, const CopySpan& span, const Piece& piece, std::byte* slot) {
  const Overlap part = overlap(span, piece);
  for (int64_t row = part.row; row < part.row + part.rows && part.cols > 0; ++row) {
    std::byte* to =
        slot + span.offset + (row - span.source_row) * span.row_bytes + part.col - span.source_col;
    const std::byte* from = element_at(source, piece, row, part.col);
    for (int64_t i = 0; i < part.cols; ++i) to[i] = from[i] ^ std::byte{0x88};
  }
}

// One code a byte to two, the even column in the low nibble; a last odd one leaves the high nibble zero.
void pack_codes(const Source& source, const CopySpan& span, const Piece& piece, std::byte* slot) {
  const Overlap part = overlap(span, piece);
  for (int64_t row = part.row; row < part.row + part.rows && part.cols > 0; ++row) {
    std::byte* to =
        slot + span.offset + (row - span.source_row) * span.row_bytes + (part.col - span.source_col) / 2;
    const std::byte* from = element_at(source, piece, row, part.col);
    for (int64_t i = 0; i < part.cols; i += 2) {
      const int high = i + 1 < part.cols ? code_at(from + i + 1) + 8 : 0;
      to[i / 2] = static_cast<std::byte>(code_at(from + i) + 8 + high * 16);
    }
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

}  // namespace

Status check_stored(const Source& source, const Target& target, const Piece& piece) {
  const auto int4 = [](const std::byte* at) { return code_at(at) >= -8 && code_at(at) <= 7; };
  switch (target.kind) {
    case TargetKind::kExpectShape:
      return check_shape(source, target, piece);
    case TargetKind::kExpectZero:
      return check_elements(source, piece, ErrorCode::kUnsupported,
                            "zero points of a symmetric scheme, all zero",
                            [](const std::byte* at) { return *at == std::byte{0}; });
    case TargetKind::kPackCodes:
      return check_elements(source, piece, ErrorCode::kBadCheckpoint, "int4 codes from -8 to 7", int4);
    default:
      return check_elements(source, piece, ErrorCode::kNonFinite, "finite values",
                            [&](const std::byte* at) { return is_finite(source.dtype, at); });
  }
}

void copy_stored(const Source& source, const Target& target, const Piece& piece, std::byte* slot) {
  for (const CopySpan& span : target.spans) {
    switch (target.kind) {
      case TargetKind::kCopyTransposed:
        copy_transposed(source, span, piece, slot);
        break;
      case TargetKind::kCopyPairs:
        copy_pairs(source, span, piece, slot);
        break;
      case TargetKind::kPackCodes:
        pack_codes(source, span, piece, slot);
        break;
      case TargetKind::kUnpackZero:
        unpack_zero_points(source, span, piece, slot);
        break;
      default:
        copy_span(source, span, piece, slot);
    }
  }
}

}  // namespace liveweight
