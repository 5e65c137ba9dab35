#include "infer/linear.h"

#include <algorithm>

#include "infer/integer_linear.h"
#include "infer/linear_kernels.h"

namespace liveweight {
namespace {

constexpr int64_t kPanelsOfTile = kTileRows / kPanelRows;
constexpr int64_t kCachedFloats = 128 << 10;
constexpr int64_t kFewTokens = 8;  // that decode rows anew for each kTileTokens of them

// Tiles whose decoded rows stay in the second-level cache while all tokens pass by them.
int64_t tiles_together(int64_t cols) {
  constexpr int64_t kMostTiles = 8;
  const int64_t tile = kPanelsOfTile * panel_floats(std::max<int64_t>(cols, 1));
  return std::clamp<int64_t>(kCachedFloats / tile, 1, kMostTiles);
}

void multiply_rows(const WeightView& weight, const LinearArguments& arguments, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kTileRows) {
    const WeightTile tile = tile_of(weight, row);
    for (int64_t token = 0; token < arguments.tokens; token += kTileTokens) {
      const auto tokens = static_cast<int>(std::min<int64_t>(kTileTokens, arguments.tokens - token));
      const float* x[kTileTokens];
      float out[kTileTokens * kTileRows];
      for (int t = 0; t < tokens; ++t) x[t] = arguments.x + (token + t) * tile.cols;
      dot_tile(tile, x, tokens, out);
      for (int t = 0; t < tokens; ++t) {
        store_products(arguments, token + t, row, std::min<int64_t>(kTileRows, end - row),
                       out + t * kTileRows);
      }
    }
  }
}

void multiply_decoded(const WeightView& weight, const LinearArguments& arguments, int64_t begin, int64_t end,
                      float* panels) {
  const int64_t cols = weight.format->cols;
  const auto panel_of = [&](int64_t row) { return panels + (row - begin) / kPanelRows * panel_floats(cols); };
  for (int64_t row = begin; row < end; row += kTileRows) {
    const WeightTile tile = tile_of(weight, row);
    for (int first = 0; first < kTileRows; first += kPanelRows) {
      decode_panel(tile, first, panel_of(row + first));
    }
  }
  // Tiles of nearly equal size: a last one of a single token would waste most of what it loads.
  const int64_t tiles = (arguments.tokens + kPanelTokens - 1) / kPanelTokens;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t token = i * arguments.tokens / tiles;
    const auto tokens = static_cast<int>((i + 1) * arguments.tokens / tiles - token);
    const float* x[kPanelTokens];
    for (int t = 0; t < tokens; ++t) x[t] = arguments.x + (token + t) * cols;
    for (int64_t row = begin; row < end; row += kPanelRows) {
      float out[kPanelTokens * kPanelRows];
      multiply_panel(panel_of(row), cols, x, tokens, out);
      for (int t = 0; t < tokens; ++t) {
        store_products(arguments, token + t, row, std::min<int64_t>(kPanelRows, end - row),
                       out + t * kPanelRows);
      }
    }
  }
}

}  // namespace

void store_products(const LinearArguments& to, int64_t token, int64_t row, int64_t rows,
                    const float* values) {
  float* y = to.y + token * to.y_stride + row;
  for (int64_t r = 0; r < rows; ++r) {
    const float value = to.bias ? values[r] + to.bias[row + r] : values[r];
    y[r] = to.accumulate ? y[r] + value : value;
  }
}

int64_t linear_scratch_floats(int64_t cols) {
  return std::max(kCachedFloats, kPanelsOfTile * panel_floats(cols));
}

void linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute) {
  if (arguments.tokens == 0) return;
  const KernelFormat& format = *weight.format;
  if (arguments.integers && takes_integers(format)) return integer_linear(weight, arguments, compute);
  const bool few = arguments.tokens <= kFewTokens;
  constexpr int64_t kStreamedBytes = 64 << 10;
  const int64_t tile_bytes = std::max<int64_t>(kTileRows * format.data.row_bytes, 1);
  const int64_t tiles =
      few ? std::clamp<int64_t>(kStreamedBytes / tile_bytes, 1, 64) : tiles_together(format.cols);
  const int64_t block = tiles * kTileRows;
  const int64_t blocks = (format.rows + block - 1) / block;
  compute.for_each(blocks, format.rows * format.cols * arguments.tokens, [&](int worker, int64_t i) {
    const int64_t begin = i * block;
    const int64_t end = std::min(begin + block, format.rows);
    if (few) return multiply_rows(weight, arguments, begin, end);
    multiply_decoded(weight, arguments, begin, end, compute.scratch(worker));
  });
}

void dequantize_weight_row(const WeightView& weight, int64_t row, float* out) {
  decode_row(tile_of(weight, row), 0, out);
}

void dequantize_vector(const WeightView& weight, float* out) {
  decode_row(tile_of_vector(weight), 0, out);
}

}  // namespace liveweight
