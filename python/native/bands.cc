#include "bands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/threads.h"
#include "live/parallel_jobs.h"
#include "quantize/kernel_format.h"
#include "tensor/codec.h"

namespace liveweight::python {
namespace {

constexpr int64_t kBandBytes = 256 << 10;  // of source: it and its codes stay in a core's cache

int64_t band_rows(const Matrix& matrix) {
  const int64_t row_bytes = std::max<int64_t>(matrix.cols * bits_of(matrix.dtype) / 8, 1);
  const int64_t edge = matrix.scheme.granularity == Granularity::kBlock ? matrix.scheme.size : 1;
  return std::max<int64_t>((kBandBytes / row_bytes + edge - 1) / edge * edge, edge);
}

SourceBox box_of(const Matrix& matrix, const Rows& band) {
  if (!matrix.scheme.quantizes()) {
    const int64_t count =
        band.rows * matrix.cols;  // rows mean nothing: one long one is quicker to look through
    return {matrix.dtype, band.data, count, 0, 1, band.row * matrix.cols, count};
  }
  return {matrix.dtype, band.data, matrix.cols, band.row, band.rows, 0, matrix.cols};
}

tl::unexpected<Error> refuse(const std::string& name, const QuantizeFault& fault) {
  const char* what = fault.scale_overflow ? "a scale that is finite" : "finite values";
  return fail(ErrorCode::kNonFinite,
              fmt::format("tensor {}: expected {}, got {} at [{}, {}]", name, what, fault.value, fault.row,
                          fault.col),
              {name});
}

KernelFormat band_format(const Matrix& matrix, const Rows& band) {
  CutShape cut{1, matrix.cols, 0, matrix.cols, {Segment{0, band.rows, band.row, 0}}};
  return make_unpacked_format(matrix.scheme, matrix.dtype, std::move(cut));
}

Status copy_band(const std::string& name, const Matrix& matrix, const Rows& band) {
  const AmaxResult result = absolute_maximum(box_of(matrix, band));
  if (result.fault) return refuse(name, *result.fault);
  const int64_t row_bytes = matrix.cols * bits_of(matrix.dtype) / 8;
  std::memcpy(matrix.codes + (band.row - matrix.first_row) * row_bytes, band.data,
              static_cast<size_t>(band.rows * row_bytes));
  return {};
}

// Of this thread, to be written and not read.
std::byte* unwanted(uint64_t bytes) {
  thread_local std::vector<std::byte> memory;
  if (memory.size() < bytes) memory.resize(bytes);
  return memory.data();
}

// The band's own layout, with its parts where the matrix wants them: offsets from the lowest of their
// addresses.
std::byte* place_parts(const Matrix& matrix, const Rows& band, std::byte* tensor_scale,
                       KernelFormat& format) {
  const int64_t first = band.row - matrix.first_row, row = scale_row_of(matrix.scheme, first);
  const bool one = matrix.scheme.granularity == Granularity::kTensor;
  std::byte* codes = matrix.codes + first * format.data.row_bytes;
  std::byte* scales = one ? tensor_scale : matrix.scales + row * format.scale.row_bytes;
  std::byte* zeros = matrix.zero_points ? matrix.zero_points + row * format.zero_point.row_bytes
                                        : unwanted(format.zero_point.bytes);
  std::byte* slot = std::min(codes, scales);
  if (format.zero_point.bytes > 0) slot = std::min(slot, zeros);
  format.data.offset = static_cast<uint64_t>(codes - slot);
  format.scale.offset = static_cast<uint64_t>(scales - slot);
  if (format.zero_point.bytes > 0) format.zero_point.offset = static_cast<uint64_t>(zeros - slot);
  return slot;
}

// Into memory of its own.
Status try_band(const std::string& name, const Matrix& matrix, const Rows& band, float amax) {
  const KernelFormat format = band_format(matrix, band);
  std::vector<std::byte> slot(format.bytes);
  const auto fault =
      quantize_box(box_of(matrix, band), {&format, slot.data(), 0, format.segments[0]}, {amax, 0});
  if (fault) return refuse(name, *fault);
  return {};
}

}  // namespace

int64_t band_count(const Matrix& matrix, const Rows& rows) {
  const int64_t step = band_rows(matrix);
  return matrix.cols == 0 ? 0 : (rows.rows + step - 1) / step;
}

Rows band_of(const Matrix& matrix, const Rows& rows, int64_t band) {
  const int64_t step = band_rows(matrix), row_bytes = matrix.cols * bits_of(matrix.dtype) / 8;
  const int64_t from = band * step;
  return {rows.data + from * row_bytes, rows.row + from, std::min(step, rows.rows - from)};
}

int64_t scale_row_of(const Scheme& scheme, int64_t row) {
  if (scheme.granularity == Granularity::kTensor) return 0;
  return scheme.granularity == Granularity::kBlock ? row / scheme.size : row;
}

TensorUnit tensor_unit(const Matrix& matrix, const Rows& rows, float amax) {
  TensorUnit unit{amax, 0};
  const int64_t count = rows.rows * matrix.cols;
  if (count > 0 && rows.rows == matrix.rows)
    unit.last_element = load_high_precision(matrix.dtype, rows.data, count - 1);
  return unit;
}

Status quantize_band(const std::string& name, const Matrix& matrix, const Rows& band,
                     const TensorUnit& unit) {
  if (!matrix.scheme.quantizes()) return copy_band(name, matrix, band);
  KernelFormat format = band_format(matrix, band);
  alignas(64) std::byte tensor_scale[64];  // every band has the same; one of them stores it
  std::byte* slot = place_parts(matrix, band, tensor_scale, format);
  const auto fault = quantize_box(box_of(matrix, band), {&format, slot, 0, format.segments[0]}, unit);
  if (fault) return refuse(name, *fault);
  if (matrix.scheme.granularity == Granularity::kTensor && band.row == 0)
    std::memcpy(matrix.scales, tensor_scale, format.scale.bytes);
  return {};
}

uint64_t PartShape::bytes() const {
  return static_cast<uint64_t>(rows * cols * bits_of(dtype) / 8);
}

Result<Scheme> parse_matrix_scheme(std::string_view name) {
  if (!name.starts_with("int8_per_group") || !name.ends_with("@torchao-intx")) return parse_scheme(name);
  std::string int4(name);
  int4[3] = '4';
  LW_ASSIGN(Scheme scheme, parse_scheme(int4));
  scheme.element = Element::kInt8;
  return scheme;
}

MatrixShape shape_of(const Scheme& scheme, DType dtype, int64_t rows, int64_t cols) {
  const Matrix matrix{scheme, dtype, rows, cols};
  const KernelFormat format = band_format(matrix, {nullptr, 0, rows});
  const auto shape = [](const Part& part) {
    return part.bytes > 0 ? PartShape{part.dtype, part.rows, part.cols} : PartShape{};
  };
  return {{format.data.dtype, rows, cols}, shape(format.scale), shape(format.zero_point)};
}

bool rows_stand_alone(const Scheme& scheme, const Rows& rows, int64_t all_rows) {
  if (rows.rows == all_rows) return true;
  if (scheme.granularity == Granularity::kTensor || scheme.profile == Profile::kNemo) return false;
  if (scheme.granularity != Granularity::kBlock) return true;
  const int64_t end = rows.row + rows.rows;
  return rows.row % scheme.size == 0 && (end % scheme.size == 0 || end == all_rows);
}

Result<float> check_band(const std::string& name, const Matrix& matrix, const Rows& band) {
  const AmaxResult result = absolute_maximum(box_of(matrix, band));
  if (result.fault) return refuse(name, *result.fault);
  // Only near the dtype's largest values can a scale overflow; there the quantizer itself is asked.
  const float safe = matrix.dtype == DType::kF16 ? 1e4f : 1e37f;
  if (result.amax >= safe && matrix.scheme.quantizes()) LW_TRY(try_band(name, matrix, band, result.amax));
  return result.amax;
}

Result<float> check_rows(const std::string& name, const Matrix& matrix, const Rows& rows) {
  std::vector<float> maxima(static_cast<size_t>(band_count(matrix, rows)));
  LW_TRY(run_jobs(static_cast<int64_t>(maxima.size()), [&](int64_t i) -> Status {
    LW_ASSIGN(maxima[static_cast<size_t>(i)], check_band(name, matrix, band_of(matrix, rows, i)));
    return {};
  }));
  return maxima.empty() ? 0.0f : *std::max_element(maxima.begin(), maxima.end());
}

Status quantize_matrix(const std::string& name, const Matrix& matrix, const std::byte* data) {
  const Rows all{data, 0, matrix.rows};
  float amax = 0;
  if (matrix.scheme.granularity == Granularity::kTensor) {
    LW_ASSIGN(amax, check_rows(name, matrix, all));
  }
  const TensorUnit unit = tensor_unit(matrix, all, amax);
  return run_jobs(band_count(matrix, all),
                  [&](int64_t i) { return quantize_band(name, matrix, band_of(matrix, all, i), unit); });
}

}  // namespace liveweight::python
