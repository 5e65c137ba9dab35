// The bytes of one parameter as a kernel reads them: codes, scales and zero points, and where each lies in
// the one buffer (a slot) that holds them all.
//
// A parameter is `matrices` x [rows, cols]: one matrix, or one an expert, each cut from one or more source
// tensors and possibly only a rank's part of them. Units (rows, groups, blocks) are laid over the *source*
// tensors, so the quantized values do not depend on the cut: a block or group that a rank holds only in part
// has its scale there too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "liveweight/dtype.h"
#include "liveweight/scheme.h"

namespace liveweight {

// Local rows that are consecutive rows of one source tensor. Blocks begin anew at each source.
struct Segment {
  int64_t row = 0;  // first local row (within a matrix)
  int64_t rows = 0;
  int64_t source_row = 0;  // of the first row, in its source tensor
  int64_t scale_row = 0;   // first row of the scale matrix (within a matrix)
};

// A matrix of `dtype` inside the slot; `row_bytes` from row to row. Rows of all matrices follow one another.
struct Part {
  DType dtype = DType::kU8;
  int64_t rows = 0;  // of one matrix
  int64_t cols = 0;  // elements; for 4-bit codes too
  int64_t row_bytes = 0;
  uint64_t offset = 0;  // in the slot, a multiple of 64
  uint64_t bytes = 0;   // of all matrices, before padding; 0 where the scheme has no such part
};

struct KernelFormat {
  Scheme scheme;
  DType source_dtype = DType::kBF16;
  int64_t matrices = 1;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t source_col = 0;          // of the first column, in the source tensor
  int64_t source_cols = 0;         // columns of the source tensor, all ranks together
  bool scale_per_segment = false;  // offline per-tensor checkpoints: one scale a source, not one a matrix
  std::vector<Segment> segments;
  Part data;        // codes: I8, F8_E4M3, or U8 holding two int4 codes (code + 8; the even element is the low
                    // nibble; rows padded with zero bits to 4 bytes), or the source's dtype. Int4 codes in an
                    // I8 are one a byte, from -8 to 7: never in a slot, but as torchao's modules hold them
  Part scale;       // F32 or the source's dtype, as the profile stores it
  Part zero_point;  // I8 or the source's dtype; absent in symmetric profiles
  uint64_t bytes = 0;  // of the slot
};

// One segment of `segments_rows[i]` rows each, beginning at source row `source_rows[i]`.
struct CutShape {
  int64_t matrices = 1;
  int64_t cols = 0;
  int64_t source_col = 0;
  int64_t source_cols = 0;
  std::vector<Segment> segments;  // scale_row is filled in by make_kernel_format
};

KernelFormat make_kernel_format(const Scheme& scheme, DType source_dtype, CutShape cut);

// The same with a byte for each code of int4.
KernelFormat make_unpacked_format(const Scheme& scheme, DType source_dtype, CutShape cut);

// As the checkpoint stores it already quantized: the dtypes of the scale and of the zero point, where there
// is one, come from the file.
KernelFormat make_stored_format(const Scheme& scheme, DType scale_dtype, std::optional<DType> zero_dtype,
                                bool scale_per_segment, CutShape cut);

// Columns of the scale matrix: 1, or the groups or blocks that [source_col, source_col + cols) touches.
int64_t scale_columns(const KernelFormat& format);

// Quantization units of the whole parameter (all matrices); 0 where nothing is quantized.
int64_t unit_count(const KernelFormat& format);

}  // namespace liveweight
