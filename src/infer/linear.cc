#include "infer/linear.h"

#include <algorithm>

#include "infer/linear_kernels.h"

namespace liveweight {
namespace {

constexpr int64_t kScratchRows = 2 * kTileRows;
static_assert(linear_scratch_floats(1) == kScratchRows);

void store_tile(const LinearArguments& to, int64_t token, int tokens, int64_t row, int64_t rows,
                const float* tile) {
  for (int t = 0; t < tokens; ++t) {
    float* y = to.y + (token + t) * to.y_stride + row;
    for (int64_t r = 0; r < rows; ++r) {
      float value = tile[t * kTileRows + r];
      if (to.bias) value += to.bias[row + r];
      y[r] = to.accumulate ? y[r] + value : value;
    }
  }
}

// All tokens times `rows` (at most kTileRows) rows of the tile.
void multiply_tile(const WeightTile& tile, const LinearArguments& arguments, int64_t row, int64_t rows) {
  float out[kTileTokens * kTileRows];
  for (int64_t token = 0; token < arguments.tokens; token += kTileTokens) {
    const auto tokens = static_cast<int>(std::min<int64_t>(kTileTokens, arguments.tokens - token));
    const float* x[kTileTokens];
    for (int t = 0; t < kTileTokens; ++t) x[t] = arguments.x + (token + std::min(t, tokens - 1)) * tile.cols;
    dot_tile(tile, x, tokens, out);
    store_tile(arguments, token, tokens, row, rows, out);
  }
}

void multiply_decoded(const WeightView& weight, const LinearArguments& arguments, int64_t row, int64_t rows,
                      float* scratch) {
  const int64_t cols = weight.format->cols;
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const WeightTile tile = tile_of(weight, row + r);
    const auto count = static_cast<int>(std::min<int64_t>(kTileRows, rows - r));
    for (int i = 0; i < count; ++i) decode_row(tile, i, scratch + (r + i) * cols);
  }
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const int64_t count = std::min<int64_t>(kTileRows, rows - r);
    multiply_tile(tile_of_floats(scratch + r * cols, cols, count, cols), arguments, row + r, count);
  }
}

}  // namespace

void linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute) {
  const KernelFormat& format = *weight.format;
  const bool decode_first = arguments.tokens > kTileTokens && tile_of(weight, 0).code != Code::kF32 &&
                            compute.scratch_floats() >= linear_scratch_floats(format.cols);
  const int64_t few_rows = kScratchRows;
  const int64_t many_rows =
      std::clamp<int64_t>((1 << 15) / std::max<int64_t>(format.data.row_bytes, 1), 2, 64) * kTileRows;
  const int64_t block = arguments.tokens > kTileTokens ? few_rows : many_rows;
  const int64_t blocks = (format.rows + block - 1) / block;
  compute.for_each(blocks, format.rows * format.cols * arguments.tokens, [&](int worker, int64_t i) {
    const int64_t begin = i * block;
    const int64_t end = std::min(begin + block, format.rows);
    if (decode_first) return multiply_decoded(weight, arguments, begin, end - begin, compute.scratch(worker));
    for (int64_t row = begin; row < end; row += kTileRows) {
      multiply_tile(tile_of(weight, row), arguments, row, std::min<int64_t>(kTileRows, end - row));
    }
  });
}

void dequantize_weight_row(const WeightView& weight, int64_t row, float* out) {
  decode_row(tile_of(weight, row), 0, out);
}

void dequantize_vector(const WeightView& weight, float* out) {
  decode_row(tile_of_vector(weight), 0, out);
}

}  // namespace liveweight
