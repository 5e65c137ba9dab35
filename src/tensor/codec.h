// Scalar codecs: the meaning of every element type's bits, one element at a time. These are the oracle that
// faster code is held to: no table, no vector, no rounding mode of the machine.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "liveweight/dtype.h"

namespace liveweight {

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest even; overflows to infinity; NaN stays NaN (quiet, sign kept).
inline uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float fp16_to_float(uint16_t bits);
// Round to nearest even; overflows to infinity from 65520 on; NaN stays NaN.
uint16_t float_to_fp16(float value);

float e4m3_to_float(uint8_t code);
float e5m2_to_float(uint8_t code);
float e2m1_to_float(uint8_t code);  // the low four bits
float e8m0_to_float(uint8_t code);  // 2^(code-127); 255 is NaN

// Round to nearest even and saturate (infinities too). NaN gives 0x7f with its sign.
uint8_t float_to_e4m3(float value);
uint8_t float_to_e5m2(float value);
// NaN gives 255, which is no code.
uint8_t float_to_e2m1(float value);

// The element at `index` of BF16, F16 or F32 data, widened.
float load_high_precision(DType dtype, const void* data, int64_t index);
// Its counterpart: rounds to BF16 and F16.
void store_high_precision(DType dtype, void* data, int64_t index, float value);

// `value` as that dtype would hold it (BF16 and F16 round, F32 keeps), widened again: what an eager tensor
// operation in that dtype returns.
float round_to(DType dtype, float value);

}  // namespace liveweight
