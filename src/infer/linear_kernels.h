// The inner loops of a matrix product with live weights, compiled for each instruction set and chosen at run
// time. Weights are decoded in registers to exactly what dequantize_row says.
//
// The order of every sum depends on the instruction set alone, never on what a token is batched with: lane l
// of L (16 on AVX-512, 8 on AVX2, 1 on x86 without SSSE3, else 4) adds the products of columns l, l + L, l +
// 2L, ... in that order, each by one multiply-add, fused where the instruction set has it; then halves of the
// lanes are added until one number is left. Both products below keep to it.
#pragma once

#include <cstdint>

#include "infer/weight_tile.h"

namespace liveweight {

inline constexpr int kTileTokens = 4;   // of dot_tile
inline constexpr int kPanelTokens = 6;  // of multiply_panel
inline constexpr int kPanelRows = 4;
inline constexpr int kMostLanes = 16;

// Floats of a panel: kPanelRows decoded rows, interleaved for the product, zeros behind the last column;
// aligned to 64 bytes.
constexpr int64_t panel_floats(int64_t cols) {
  return kPanelRows * ((cols + kMostLanes - 1) / kMostLanes * kMostLanes);
}

// out[t * kTileRows + r] = row r times x[t], for at most kTileTokens tokens.
void dot_tile(const WeightTile& rows, const float* const* x, int tokens, float* out);

// Rows [first, first + kPanelRows) of the tile.
void decode_panel(const WeightTile& rows, int first, float* panel);

// out[t * kPanelRows + r] = row r of the panel times x[t], for at most kPanelTokens tokens.
void multiply_panel(const float* panel, int64_t cols, const float* const* x, int tokens, float* out);

// Row `index` of the tile, dequantized: `cols` numbers.
void decode_row(const WeightTile& rows, int index, float* out);

// The instruction set they run on: "AVX3", "AVX2", ...
const char* infer_target();

}  // namespace liveweight
