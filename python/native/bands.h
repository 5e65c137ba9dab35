// Quantizing matrices in bands of rows, on all threads, into codes, scales and zero points that lie wherever
// their owner wants them: torch's tensors, or arrays that Python gets.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/scheme.h"
#include "liveweight/tensor.h"
#include "quantize/quantize.h"

namespace liveweight::python {

// parse_scheme's names, and `int8_per_group[:G]@torchao-intx`.
Result<Scheme> parse_matrix_scheme(std::string_view name);

// Where a quantized [rows, cols] matrix goes, row-major and without padding. Codes are one byte each, int4
// codes as int8 from -8 to 7. Where nothing is quantized, `codes` takes the elements.
struct Matrix {
  Scheme scheme;
  DType dtype = DType::kBF16;  // of the source
  int64_t rows = 0;
  int64_t cols = 0;
  std::byte* codes = nullptr;
  std::byte* scales = nullptr;
  std::byte* zero_points = nullptr;  // null where they are not wanted
  int64_t first_row = 0;             // of the rows that codes, scales and zero points begin with
};

// What the parts of a matrix look like.
struct PartShape {
  DType dtype = DType::kU8;
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t bytes() const;
};
struct MatrixShape {
  PartShape codes;
  PartShape scales;       // no rows where the scheme has none
  PartShape zero_points;  // likewise
};
MatrixShape shape_of(const Scheme& scheme, DType dtype, int64_t rows, int64_t cols);

// Rows [row, row + rows) of a matrix, contiguous.
struct Rows {
  const std::byte* data = nullptr;
  int64_t row = 0;
  int64_t rows = 0;
};

// Bands of those rows: what one thread quantizes at a time, in its core's cache.
int64_t band_count(const Matrix& matrix, const Rows& rows);
Rows band_of(const Matrix& matrix, const Rows& rows, int64_t band);

// The row of the scales that a row of the matrix belongs to.
int64_t scale_row_of(const Scheme& scheme, int64_t row);

// What every band of those rows needs to know; `amax` is the whole tensor's, where the scheme wants it.
TensorUnit tensor_unit(const Matrix& matrix, const Rows& rows, float amax);

// Whether rows that begin and end there can be quantized without their neighbours. Scales of a whole tensor
// need its absolute maximum first: `check_rows` gives it.
bool rows_stand_alone(const Scheme& scheme, const Rows& rows, int64_t all_rows);

// kNonFinite, naming `name`, where an element is not finite; else the absolute maximum.
Result<float> check_band(const std::string& name, const Matrix& matrix, const Rows& band);
Result<float> check_rows(const std::string& name, const Matrix& matrix, const Rows& rows);

// Quantizes one band, on the calling thread. A scale of the whole tensor is written by the first.
Status quantize_band(const std::string& name, const Matrix& matrix, const Rows& band, const TensorUnit& unit);

// All of it, on all threads, whatever the scheme.
Status quantize_matrix(const std::string& name, const Matrix& matrix, const std::byte* data);

}  // namespace liveweight::python
