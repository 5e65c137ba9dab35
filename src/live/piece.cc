#include "live/piece.h"

#include <fmt/format.h>

#include <algorithm>

namespace liveweight {
namespace {

Status check_dtype(const Source& source, const TensorView& tensor) {
  if (tensor.dtype == source.dtype) return {};
  return fail(ErrorCode::kWrongDtype,
              fmt::format("tensor {}: expected {}, the dtype that this model was built for, got {}",
                          source.name, to_string(source.dtype), to_string(tensor.dtype)),
              {source.name});
}

Status check_bytes(const Source& source, const TensorView& tensor, int64_t elements) {
  const uint64_t expected = static_cast<uint64_t>(elements) * element_bytes(source);
  if (tensor.bytes == expected && (tensor.data || expected == 0)) return {};
  return fail(ErrorCode::kWrongShape,
              fmt::format("tensor {}: expected {} bytes of data, got {}", source.name, expected,
                          tensor.data ? tensor.bytes : 0),
              {source.name});
}

Status wrong_region(const Source& source, const Region& region, const char* why) {
  return fail(ErrorCode::kWrongShape,
              fmt::format("tensor {} of shape {}: the region from {} of extent {} {}", source.name,
                          to_string(source.shape), to_string(region.start), to_string(region.extent), why),
              {source.name});
}

}  // namespace

int64_t element_bytes(const Source& source) {
  return bits_of(source.dtype) / 8;
}

const std::byte* element_at(const Source& source, const Piece& piece, int64_t row, int64_t col) {
  return piece.data + ((row - piece.row) * piece.stride + (col - piece.col)) * element_bytes(source);
}

std::string position_text(const Source& source, int64_t row, int64_t col) {
  if (source.shape.empty()) return "[]";
  return source.shape.size() == 1 ? fmt::format("[{}]", row) : fmt::format("[{}, {}]", row, col);
}

Piece sub_piece(const Source& source, const Piece& piece, int64_t row, int64_t rows, int64_t col,
                int64_t cols) {
  return {row, rows, col, cols, element_at(source, piece, row, col), piece.stride};
}

Result<PieceList> whole_pieces(const Source& source, const TensorView& tensor) {
  LW_TRY(check_dtype(source, tensor));
  if (tensor.shape != source.shape) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected shape {}, got {}", source.name, to_string(source.shape),
                            to_string(tensor.shape)),
                {source.name});
  }
  LW_TRY(check_bytes(source, tensor, source.rows * source.cols));
  return Piece{0, source.rows, 0, source.cols, tensor.data, source.cols};
}

Result<PieceList> region_pieces(const Source& source, const TensorView& piece, const Region& region) {
  LW_TRY(check_dtype(source, piece));
  const size_t rank = source.shape.size();
  if (region.start.size() != rank || region.extent.size() != rank) {
    return tl::unexpected(wrong_region(source, region, "has another rank").error());
  }
  int64_t elements = 1;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t start = region.start[i], extent = region.extent[i];
    if (start < 0 || extent < 0 || extent > source.shape[i] - start) {
      return tl::unexpected(wrong_region(source, region, "reaches outside").error());
    }
    elements *= extent;
  }
  LW_TRY(check_bytes(source, piece, elements));
  if (elements == 0) return PieceList{};
  Piece box{0, 1, 0, 1, piece.data, 1};
  if (rank >= 1) box.row = region.start[0], box.rows = region.extent[0];
  if (rank == 2) box.col = region.start[1], box.cols = box.stride = region.extent[1];
  if (rank > 2) return tl::unexpected(wrong_region(source, region, "has more than two dimensions").error());
  return box;
}

Result<PieceList> flat_pieces(const Source& source, const TensorView& piece, int64_t first_element) {
  LW_TRY(check_dtype(source, piece));
  const int64_t size = source.rows * source.cols;
  const auto count = static_cast<int64_t>(piece.bytes / element_bytes(source));
  if (first_element < 0 || count > size - first_element) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: elements {} to {} reach outside its {}", source.name, first_element,
                            first_element + count, size),
                {source.name});
  }
  LW_TRY(check_bytes(source, piece, count));
  PieceList boxes;
  const std::byte* data = piece.data;
  for (int64_t at = first_element, end = first_element + count; at < end;) {
    const int64_t row = at / source.cols, col = at % source.cols;
    const bool whole_rows = col == 0 && end - at >= source.cols;
    const int64_t rows = whole_rows ? (end - at) / source.cols : 1;
    const int64_t cols = whole_rows ? source.cols : std::min(source.cols - col, end - at);
    boxes.push_back({row, rows, col, cols, data, cols});
    data += rows * cols * element_bytes(source);
    at += rows * cols;
  }
  return boxes;
}

}  // namespace liveweight
