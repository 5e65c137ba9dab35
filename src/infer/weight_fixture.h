// Random weights in a slot of any scheme, for tests.
#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "infer/weight_tile.h"
#include "quantize/quantize.h"
#include "tensor/codec.h"

namespace liveweight {

// The instruction sets that there is code for, the last of which any processor has.
inline constexpr int64_t kTargets =
    HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_SSE4 | HWY_SSSE3 | HWY_NEON | HWY_STATIC_TARGET;

struct WeightShape {
  int64_t matrices = 1;
  std::vector<int64_t> segment_rows;
  int64_t cols = 0;
  int64_t source_col = 0;   // where the slot's columns begin in the source
  int64_t source_cols = 0;  // 0: no more than `cols`
  float deviation = 1;      // of the weights
};

class WeightFixture {
 public:
  WeightFixture(const std::string& scheme, DType dtype, const WeightShape& shape, uint32_t seed = 1)
      : random_(seed), normal_(0, shape.deviation) {
    CutShape cut{shape.matrices, shape.cols, shape.source_col, shape.source_cols, {}};
    if (cut.source_cols == 0) cut.source_cols = shape.cols;
    int64_t row = 0;
    for (const int64_t rows : shape.segment_rows) {
      cut.segments.push_back({row, rows, 0, 0});
      row += rows;
    }
    format_ = make_kernel_format(parse_scheme(scheme).value(), dtype, cut);
    slot_.resize(format_.bytes);
    for (int64_t matrix = 0; matrix < format_.matrices; ++matrix) {
      for (const Segment& segment : format_.segments) fill(matrix, segment);
    }
  }

  WeightView view(int64_t matrix = 0) const { return {&format_, slot_.data(), matrix}; }
  const KernelFormat& format() const { return format_; }

  std::vector<float> row(int64_t matrix, int64_t row) const {
    std::vector<float> values(static_cast<size_t>(format_.cols));
    dequantize_row(format_, slot_.data(), matrix, row, values.data());
    return values;
  }

 private:
  void fill(int64_t matrix, const Segment& segment) {
    const int64_t count = segment.rows * format_.source_cols;
    const int64_t width = bits_of(format_.source_dtype) / 8;
    std::vector<std::byte> source(static_cast<size_t>(count * width));
    for (int64_t i = 0; i < count; ++i)
      store_high_precision(format_.source_dtype, source.data(), i, normal_(random_));
    const SourceBox box{format_.source_dtype, source.data(), format_.source_cols, 0, segment.rows, 0,
                        format_.source_cols};
    const SlotRegion region{&format_, slot_.data(), matrix, segment};
    quantize_box_reference(box, region, {absolute_maximum(box).amax, 0.5f});
  }

  std::mt19937 random_;
  std::normal_distribution<float> normal_;
  KernelFormat format_;
  std::vector<std::byte> slot_;
};

inline std::vector<float> random_floats(int64_t count, uint32_t seed = 7) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace liveweight
