// The inner loops of a matrix product with live weights, compiled for each instruction set and chosen at run
// time. Weights are decoded in registers to exactly what dequantize_row says; sums run over columns in an
// order that depends on nothing but the column, so a token's result is the same to the bit whatever it is
// batched with.
#pragma once

#include <cstdint>

#include "infer/weight_tile.h"

namespace liveweight {

inline constexpr int kTileTokens = 4;

// out[t * kTileRows + r] = sum over columns of row r times x[t]; `tokens` of x are read, at most kTileTokens.
void dot_tile(const WeightTile& rows, const float* const* x, int tokens, float* out);

// Row `index` of the tile, dequantized: `cols` numbers.
void decode_row(const WeightTile& rows, int index, float* out);

// The instruction set they run on: "AVX3", "AVX2", ...
const char* infer_target();

}  // namespace liveweight
