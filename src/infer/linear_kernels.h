// The inner loops of a matrix product with live weights, compiled for each instruction set and chosen at run
// time. Weights are decoded in registers to exactly what dequantize_row says.
//
// The order of every sum depends on the instruction set alone, never on what a token is batched with: lane l
// of L (16 on AVX-512, 8 on AVX2, 4 elsewhere) adds the products of columns l, l + L, l + 2L, ... in that
// order, each by one multiply-add, fused where the instruction set has it; then halves of the lanes are added
// until one number is left. Both products below keep to it.
#pragma once

#include <cstdint>

#include "infer/weight_tile.h"

namespace liveweight {

inline constexpr int kTileTokens = 6;
inline constexpr int kMostLanes = 16;

// Floats of a panel: kTileRows decoded rows, interleaved for the product, zeros behind the last column. It
// and the sums are aligned to 64 bytes.
constexpr int64_t panel_floats(int64_t cols) {
  return kTileRows * ((cols + kMostLanes - 1) / kMostLanes * kMostLanes);
}

// Columns [begin, end) of a panel, where begin and all ends but the last are multiples of kMostLanes.
struct PanelColumns {
  int64_t begin = 0;
  int64_t end = 0;
  bool last = false;
};

// out[r] = row r times x.
void dot_tile(const WeightTile& rows, const float* x, float* out);

void decode_panel(const WeightTile& rows, float* panel);

// Adds the columns' products with at most kTileTokens tokens; `sums` is written when they begin at 0 and is
// to be kept until the last ones, after which sums[(t * kTileRows + r) * kMostLanes] is row r times x[t].
void multiply_panel(const float* panel, const float* const* x, int tokens, const PanelColumns& columns,
                    float* sums);

// Row `index` of the tile, dequantized: `cols` numbers.
void decode_row(const WeightTile& rows, int index, float* out);

// The instruction set they run on: "AVX3", "AVX2", ...
const char* infer_target();

}  // namespace liveweight
