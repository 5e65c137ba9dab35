// The inner loops of a product of int4 weights, a scale a group, with int8 activations (integer_kernels.h),
// compiled for each instruction set and chosen at run time.
//
// With t the scale of a row's group, the product of a row and a token is, before the token's scale, the sum
// of fp32(sum of code * activation over the group, exact in int32) * t over the groups in their order, every
// product and every sum rounded to fp32. Nothing else is rounded, so it is the same on every instruction set
// and whatever a token is batched with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "infer/integer_kernels.h"

namespace liveweight {

inline constexpr int64_t kGroupRows = 16;  // of a product's weights

// Groups of a row of `cols` columns; the last may be shorter.
constexpr int64_t group_count(int64_t cols, int64_t group) {
  return (cols + group - 1) / group;
}

// Bytes of a panel: the codes of kGroupRows rows as they are packed in the slot, interleaved by steps, then
// their scales in fp32, interleaved by groups.
constexpr int64_t group_panel_bytes(int64_t cols, int64_t group) {
  return kGroupRows * (cols / 2 + group_count(cols, group) * static_cast<int64_t>(sizeof(float)));
}

// From the codes of token `token`: those of even columns and those of odd ones apart, and each group's zero.
void split_token(int64_t cols, int64_t group, int64_t token, const IntegerRows& x);

// Rows [row, row + kGroupRows) of a weight that takes_integers; rows past the end repeat the last one.
// `panel` is aligned to 64 bytes.
void pack_group_panel(const WeightView& weight, int64_t row, std::byte* panel);

// out[t * kGroupRows + r] = row r of the panel times token `token` + t, for at most kIntegerTokens.
void multiply_group_panel(const std::byte* panel, int64_t cols, int64_t group, const IntegerRows& x,
                          int64_t token, int tokens, float* out);

// The same for rows [row, row + kGroupRows) of a weight and the first `tokens`, packed into `panel` only
// where they cannot be multiplied as they lie in the slot.
void multiply_group_rows(const WeightView& weight, int64_t row, const IntegerRows& x, int tokens,
                         std::byte* panel, float* out);

}  // namespace liveweight
