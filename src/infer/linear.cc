#include "infer/linear.h"

#include <algorithm>

#include "infer/linear_kernels.h"

namespace liveweight {
namespace {

constexpr int64_t kMostPanels = 8;
constexpr int64_t kTileSums = kTileTokens * kTileRows * kMostLanes;

// Decoded rows that stay in the second-level cache while all tokens pass by them.
int64_t panels_together(int64_t cols) {
  constexpr int64_t kCachedFloats = 96 << 10;
  return std::clamp<int64_t>(kCachedFloats / panel_floats(std::max<int64_t>(cols, 1)), 1, kMostPanels);
}

void store(const LinearArguments& to, int64_t token, int64_t row, float value) {
  float& y = to.y[token * to.y_stride + row];
  if (to.bias) value += to.bias[row];
  y = to.accumulate ? y + value : value;
}

void multiply_rows(const WeightView& weight, const LinearArguments& arguments, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kTileRows) {
    float out[kTileRows];
    dot_tile(tile_of(weight, row), arguments.x, out);
    for (int64_t r = 0; r < std::min<int64_t>(kTileRows, end - row); ++r) {
      store(arguments, 0, row + r, out[r]);
    }
  }
}

// Decoded rows and where their sums with a tile of tokens grow.
struct Panels {
  int64_t row = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  float* sums = nullptr;
  float* data = nullptr;

  int64_t count() const { return (rows + kTileRows - 1) / kTileRows; }
  const float* panel(int64_t i) const { return data + i * panel_floats(cols); }
};

// A few columns at a time, so that the tokens' stay in the first-level cache from panel to panel.
void multiply_panels(const Panels& panels, const float* const* x, int tokens) {
  constexpr int64_t kCachedColumns = 768;
  PanelColumns columns;
  do {
    columns.begin = columns.end;
    columns.end = std::min(columns.begin + kCachedColumns, panels.cols);
    columns.last = columns.end == panels.cols;
    for (int64_t i = 0; i < panels.count(); ++i) {
      multiply_panel(panels.panel(i), x, tokens, columns, panels.sums + i * kTileSums);
    }
  } while (!columns.last);
}

void multiply_tokens(const Panels& panels, const LinearArguments& arguments, int64_t token, int tokens) {
  const float* x[kTileTokens];
  for (int t = 0; t < tokens; ++t) x[t] = arguments.x + (token + t) * panels.cols;
  multiply_panels(panels, x, tokens);
  for (int t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < panels.rows; ++r) {
      const int64_t sum = r / kTileRows * kTileSums + (t * kTileRows + r % kTileRows) * kMostLanes;
      store(arguments, token + t, panels.row + r, panels.sums[sum]);
    }
  }
}

void multiply_decoded(const WeightView& weight, const LinearArguments& arguments, int64_t begin, int64_t end,
                      float* scratch) {
  const int64_t cols = weight.format->cols;
  const Panels panels{begin, end - begin, cols, scratch, scratch + kMostPanels * kTileSums};
  for (int64_t i = 0; i < panels.count(); ++i) {
    decode_panel(tile_of(weight, begin + i * kTileRows), panels.data + i * panel_floats(cols));
  }
  // Tiles of nearly equal size: a last one of a single token would waste most of what it loads.
  const int64_t tiles = (arguments.tokens + kTileTokens - 1) / kTileTokens;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t token = i * arguments.tokens / tiles;
    const int64_t next = (i + 1) * arguments.tokens / tiles;
    multiply_tokens(panels, arguments, token, static_cast<int>(next - token));
  }
}

}  // namespace

int64_t linear_scratch_floats(int64_t cols) {
  return kMostPanels * kTileSums + panels_together(cols) * panel_floats(cols);
}

void linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute) {
  if (arguments.tokens == 0) return;
  const KernelFormat& format = *weight.format;
  const bool one = arguments.tokens == 1;
  constexpr int64_t kBytesTogether = 64 << 10;
  const int64_t tiles =
      one ? std::clamp<int64_t>(kBytesTogether / std::max<int64_t>(kTileRows * format.data.row_bytes, 1), 1,
                                64)
          : panels_together(format.cols);
  const int64_t block = tiles * kTileRows;
  const int64_t blocks = (format.rows + block - 1) / block;
  compute.for_each(blocks, format.rows * format.cols * arguments.tokens, [&](int worker, int64_t i) {
    const int64_t begin = i * block;
    const int64_t end = std::min(begin + block, format.rows);
    if (one) return multiply_rows(weight, arguments, begin, end);
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
