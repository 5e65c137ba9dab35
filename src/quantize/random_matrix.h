// For tests: matrices of weights and accidents, of every dtype, and ranks' parts of them. All of it follows
// from a seed.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/targets_fixture.h"
#include "quantize/quantize.h"
#include "tensor/codec.h"

namespace liveweight::testing {

inline constexpr DType kDTypes[] = {DType::kBF16, DType::kF16, DType::kF32};
inline const std::vector<std::string> kSchemes = {
    "none",
    "int8_per_channel@torchao",
    "int8_per_channel@torchao-intx",
    "int8_per_channel@compressed-tensors",
    "int8_per_channel@vllm",
    "int8_per_tensor",
    "int4_per_group:32@torchao",
    "int4_per_group:128@torchao",
    "int4_per_group:32@torchao-tinygemm",
    "int4_per_group:32@torchao-intx",
    "int4_per_group:48@compressed-tensors",
    "int4_per_group:32@compressed-tensors-asymmetric",
    "int4_per_group:7@torchao",
    "fp8_per_tensor@torchao",
    "fp8_per_tensor@compressed-tensors",
    "fp8_per_tensor@vllm",
    "fp8_per_channel@torchao",
    "fp8_per_channel@compressed-tensors",
    "fp8_per_channel@vllm",
    "fp8_per_channel@torchao-fused",
    "fp8_per_block@prime-rl",
    "fp8_per_block@slime",
    "fp8_per_block@nemo",
    "fp8_per_block@verl",
    "fp8_per_block@vllm",
};

using Random = std::mt19937_64;

inline int64_t up_to(Random& random, int64_t limit) {
  return std::uniform_int_distribution<int64_t>(0, limit)(random);
}

inline bool chance(Random& random, int one_in) {
  return up_to(random, one_in - 1) == 0;
}

// The instruction sets that there is code for.
inline constexpr int64_t kTargets = HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_NEON;

// Numbers of one magnitude, any finite bits, exact ties, or all the same: what weights and accidents look
// like.
inline float draw(Random& random, int kind, float magnitude) {
  std::normal_distribution<float> normal(0, magnitude);
  switch (kind) {
    case 0:
      return normal(random);
    case 1: {
      const auto bits = static_cast<uint32_t>(random());
      const float value = std::bit_cast<float>(bits);
      return std::isfinite(value) ? value : 0.0f;
    }
    case 2:
      return static_cast<float>(up_to(random, 30) - 15) * 0.5f * magnitude;
    case 3:
      return chance(random, 2) ? 0.0f : -0.0f;
    default:
      return chance(random, 50) ? normal(random) : 0.0f;
  }
}

struct Matrix {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> data;
};

inline Matrix zeros(DType dtype, int64_t rows, int64_t cols) {
  return {dtype, rows, cols, std::vector<std::byte>(static_cast<size_t>(rows * cols * bits_of(dtype) / 8))};
}

inline Matrix draw_matrix(Random& random, DType dtype, bool with_faults) {
  const int64_t rows = 1 + up_to(random, 300), cols = 1 + up_to(random, 700);
  Matrix matrix = zeros(dtype, rows, cols);
  // Of any size now and then, so that scales are tiny or huge.
  const auto exponent =
      static_cast<int>(chance(random, 6) ? up_to(random, 240) - 125 : up_to(random, 60) - 40);
  const float magnitude = std::ldexp(1.0f, exponent);
  const int whole = static_cast<int>(up_to(random, 9));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    const int kind = whole < 5 ? whole : static_cast<int>(up_to(random, 4));
    for (int64_t col = 0; col < matrix.cols; ++col) {
      const float x = draw(random, kind, magnitude);
      const bool fits = std::isfinite(round_to(dtype, x));
      store_high_precision(dtype, matrix.data.data(), row * matrix.cols + col, fits ? x : 1.0f);
    }
  }
  // What the edges' rule of one profile counts.
  if (chance(random, 3) && std::isfinite(round_to(dtype, 8 * magnitude))) {
    store_high_precision(dtype, matrix.data.data(), matrix.rows * matrix.cols - 1, 8 * magnitude);
  }
  if (with_faults) {
    const float faults[] = {INFINITY, -INFINITY, NAN, -NAN};
    store_high_precision(dtype, matrix.data.data(), up_to(random, matrix.rows * matrix.cols - 1),
                         faults[up_to(random, 3)]);
  }
  return matrix;
}

// A rank's part of the matrix, any rows and columns of it.
inline CutShape draw_cut(Random& random, const Matrix& matrix) {
  const bool whole = chance(random, 2);
  const int64_t row = whole ? 0 : up_to(random, matrix.rows - 1);
  const int64_t rows = whole ? matrix.rows : 1 + up_to(random, matrix.rows - row - 1);
  const int64_t col = whole ? 0 : up_to(random, matrix.cols - 1);
  const int64_t cols = whole ? matrix.cols : 1 + up_to(random, matrix.cols - col - 1);
  return {1, cols, col, matrix.cols, {{0, rows, row, 0}}};
}

// Rows and columns of the smallest box that may be quantized by itself.
struct Tile {
  int64_t rows, cols;
};

inline Tile tile_of(const Scheme& scheme, const Matrix& matrix) {
  switch (scheme.granularity) {
    case Granularity::kNone:
      return {1, 1};
    case Granularity::kGroup:
      return {1, scheme.size};
    case Granularity::kBlock:
      return {scheme.size, scheme.size};
    default:
      return {1, matrix.cols};
  }
}

// Of rows and columns from there on; `matrix` stays where it is.
inline SourceBox box_of(const Matrix& matrix, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const std::byte* first = matrix.data.data() + (row * matrix.cols + col) * (bits_of(matrix.dtype) / 8);
  return {matrix.dtype, first, matrix.cols, row, rows, col, cols};
}

inline SourceBox box_of(const Matrix& matrix) {
  return box_of(matrix, 0, matrix.rows, 0, matrix.cols);
}

inline float element(const Matrix& matrix, int64_t position) {
  return load_high_precision(matrix.dtype, matrix.data.data(), position);
}

inline TensorUnit tensor_unit_of(const Matrix& matrix) {
  return {absolute_maximum_reference(box_of(matrix)).amax, element(matrix, matrix.rows * matrix.cols - 1)};
}

}  // namespace liveweight::testing
