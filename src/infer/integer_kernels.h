// The inner loops of a product of int8 weights, a scale a row, with int8 activations, compiled for each
// instruction set and chosen at run time, with VNNI and without.
//
// A token's activations x become codes and one scale, as vLLM's dynamic per-token int8 has it: with
// a = max |x|, in fp32, scale = a / 127 and code = x * (127 / a), to the nearest integer, half to even. Where
// 127 / a is not finite (a is 0 or below 3.8e-37) every code is 0; where an activation is not finite, every
// code is 0 and the scale is NaN.
//
// The products are added up in int32 and exact, so they are the same on every instruction set, in every order
// and whatever a token is batched with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "infer/weight_tile.h"

namespace liveweight {

// Activations of some tokens as int8. Plain pointers into a workspace.
struct IntegerRows {
  int8_t* codes = nullptr;  // [tokens, stride], zeros behind the last column; aligned to 64 bytes
  float* scales = nullptr;  // [tokens]
  int32_t* sums = nullptr;  // [tokens], of the codes
  bool vnni = false;        // whether products use it, where has_vnni()
  int64_t stride = 0;       // integer_stride(cols)
  // For weights with a scale a group (group_kernels.h).
  int8_t* split = nullptr;         // [tokens, stride]: the codes of even columns, then those of odd ones
  int32_t* group_zeros = nullptr;  // [tokens, stride / kGroupStep]: of each group, what its sum begins with,
                                   // as int4 is stored as a number plus 8
};

inline constexpr int64_t kGroupStep = 8;  // columns; groups are whole steps
inline constexpr int kIntegerRows = 4;    // of a product's weights
inline constexpr int kIntegerTokens = 6;  // of a product, at most

// Products of two int8 that many columns long still fit int32.
inline constexpr int64_t kMostIntegerCols = INT32_MAX / (128 * 127);

// Bytes of a row of codes.
constexpr int64_t integer_stride(int64_t cols) {
  constexpr int64_t kLine = 64;
  return (cols + kLine - 1) / kLine * kLine;
}

// Whether the processor has AVX-512's VNNI beside what else AVX3 takes.
bool has_vnni();

// Fills in the codes, the scale and the sum of token `token`.
void quantize_token(const float* x, int64_t cols, int64_t token, const IntegerRows& to);

// Rows [first, first + kIntegerRows) of an int8 tile, interleaved for multiply_integer_panel with
// `x`: kIntegerRows * integer_stride(cols) bytes, aligned to 64.
void pack_integer_panel(const WeightTile& tile, int first, const IntegerRows& x, std::byte* panel);

// out[t * kIntegerRows + r] = the codes of row r times those of token `token` + t, for at most
// kIntegerTokens.
void multiply_integer_panel(const std::byte* panel, int64_t cols, const IntegerRows& x, int64_t token,
                            int tokens, int32_t* out);

// The same for rows [first, first + kIntegerRows) of a tile as they lie in the slot.
void multiply_integer_tile(const WeightTile& tile, int first, const IntegerRows& x, int64_t token, int tokens,
                           int32_t* out);

}  // namespace liveweight
