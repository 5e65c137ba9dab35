#include "quantize/kernel_format.h"

#include <utility>

#include "quantize/profile.h"

namespace liveweight {
namespace {

constexpr uint64_t kPartAlignment = 64;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

DType code_dtype(const Scheme& scheme, DType source) {
  switch (scheme.element) {
    case Element::kHighPrecision:
      return source;
    case Element::kInt8:
      return DType::kI8;
    case Element::kInt4:
      return DType::kU8;
    case Element::kE4M3:
      return DType::kF8E4M3;
  }
  return source;
}

int64_t code_row_bytes(const Scheme& scheme, DType codes, int64_t cols) {
  if (scheme.element == Element::kInt4 && codes == DType::kU8) return ceil_div(cols, 8) * 4;
  return cols * bits_of(codes) / 8;
}

// Rows of the scale matrix that a segment fills.
int64_t segment_scale_rows(const KernelFormat& format, const Segment& segment) {
  const int64_t edge = format.scheme.size;
  switch (format.scheme.granularity) {
    case Granularity::kNone:
      return 0;
    case Granularity::kTensor:
      return format.scale_per_segment ? 1 : 0;
    case Granularity::kRow:
    case Granularity::kGroup:
      return segment.rows;
    case Granularity::kBlock:
      return ceil_div(segment.source_row + segment.rows, edge) - segment.source_row / edge;
  }
  return 0;
}

Part place(DType dtype, int64_t matrices, int64_t rows, int64_t cols, int64_t row_bytes, uint64_t& end) {
  Part part{dtype, rows, cols, row_bytes, end, static_cast<uint64_t>(matrices * rows * row_bytes)};
  end += (part.bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
  return part;
}

KernelFormat make_format(const Scheme& scheme, DType source, DType codes, bool scale_per_segment,
                         CutShape cut) {
  KernelFormat format;
  format.scheme = scheme;
  format.source_dtype = source;
  format.matrices = cut.matrices;
  format.cols = cut.cols;
  format.source_col = cut.source_col;
  format.source_cols = cut.source_cols;
  format.scale_per_segment = scale_per_segment;
  format.segments = std::move(cut.segments);
  for (const Segment& segment : format.segments) format.rows += segment.rows;
  format.data = place(codes, format.matrices, format.rows, format.cols,
                      code_row_bytes(scheme, codes, format.cols), format.bytes);
  return format;
}

void place_scales(KernelFormat& format, DType scale_dtype, std::optional<DType> zero_dtype) {
  int64_t rows = 0;
  for (Segment& segment : format.segments) {
    segment.scale_row = rows;
    rows += segment_scale_rows(format, segment);
  }
  if (format.scheme.granularity == Granularity::kTensor && !format.scale_per_segment) rows = 1;
  const int64_t cols = scale_columns(format);
  format.scale =
      place(scale_dtype, format.matrices, rows, cols, cols * bits_of(scale_dtype) / 8, format.bytes);
  if (zero_dtype) {
    format.zero_point =
        place(*zero_dtype, format.matrices, rows, cols, cols * bits_of(*zero_dtype) / 8, format.bytes);
  }
}

KernelFormat make_with_codes(const Scheme& scheme, DType source_dtype, DType codes, CutShape cut) {
  KernelFormat format = make_format(scheme, source_dtype, codes, false, std::move(cut));
  if (!scheme.quantizes()) return format;
  const ProfileRule rule = rule_for(scheme, source_dtype);
  std::optional<DType> zero_dtype;
  if (rule.integer_zero) zero_dtype = DType::kI8;
  if (rule.floating_zero) zero_dtype = source_dtype;
  place_scales(format, rule.scale_dtype, zero_dtype);
  return format;
}

}  // namespace

KernelFormat make_kernel_format(const Scheme& scheme, DType source_dtype, CutShape cut) {
  return make_with_codes(scheme, source_dtype, code_dtype(scheme, source_dtype), std::move(cut));
}

KernelFormat make_unpacked_format(const Scheme& scheme, DType source_dtype, CutShape cut) {
  const DType codes = scheme.element == Element::kInt4 ? DType::kI8 : code_dtype(scheme, source_dtype);
  return make_with_codes(scheme, source_dtype, codes, std::move(cut));
}

KernelFormat make_stored_format(const Scheme& scheme, DType scale_dtype, std::optional<DType> zero_dtype,
                                bool scale_per_segment, CutShape cut) {
  KernelFormat format =
      make_format(scheme, scale_dtype, code_dtype(scheme, scale_dtype), scale_per_segment, std::move(cut));
  place_scales(format, scale_dtype, zero_dtype);
  return format;
}

int64_t scale_columns(const KernelFormat& format) {
  const int64_t size = format.scheme.size;
  if (format.scheme.granularity != Granularity::kGroup && format.scheme.granularity != Granularity::kBlock)
    return 1;
  if (format.cols == 0) return 0;
  return ceil_div(format.source_col + format.cols, size) - format.source_col / size;
}

int64_t unit_count(const KernelFormat& format) {
  return format.scheme.quantizes() ? format.matrices * format.scale.rows * format.scale.cols : 0;
}

}  // namespace liveweight
