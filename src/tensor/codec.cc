#include "tensor/codec.h"

namespace liveweight {
namespace {

// A small float format: `mantissa_bits`, exponent bias, and the largest code (without its sign).
struct SmallFloat {
  int mantissa_bits;
  int bias;
  uint32_t largest;
};

constexpr SmallFloat kE4M3{3, 7, 0x7e};
constexpr SmallFloat kE5M2{2, 15, 0x7b};
constexpr SmallFloat kE2M1{1, 1, 0x7};

float decode(const SmallFloat& format, uint32_t magnitude) {
  const uint32_t exponent = magnitude >> format.mantissa_bits;
  const uint32_t mantissa = magnitude & ((1u << format.mantissa_bits) - 1);
  const uint32_t hidden = exponent ? 1u << format.mantissa_bits : 0u;
  const int power = static_cast<int>(exponent ? exponent : 1) - format.bias - format.mantissa_bits;
  return std::ldexp(static_cast<float>(hidden | mantissa), power);
}

// Nearest even by the distance to the two neighbours; codes of one sign grow with their values.
uint32_t encode_magnitude(const SmallFloat& format, float magnitude) {
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude = m * 2^exponent, m in [0.5, 1)
  const int lowest = 1 - format.bias;
  const int power = std::max(exponent - 1, lowest) - format.mantissa_bits;  // of one unit in the last place
  const float units = std::ldexp(magnitude, -power);                  // exact: only the exponent changes
  const auto rounded = static_cast<uint32_t>(std::nearbyint(units));  // to even, the default mode
  const uint32_t biased = static_cast<uint32_t>(std::max(exponent - 1, lowest) - lowest);
  return rounded + (biased << format.mantissa_bits);
}

uint32_t encode(const SmallFloat& format, float magnitude) {
  if (magnitude >= decode(format, format.largest)) return format.largest;
  if (magnitude == 0) return 0;
  return std::min(encode_magnitude(format, magnitude), format.largest);
}

bool sign_of(float value) {
  return std::signbit(value);
}

}  // namespace

float fp16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = bits >> 10 & 31u;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  const float magnitude =
      exponent ? std::ldexp(static_cast<float>(mantissa | 0x400u), static_cast<int>(exponent) - 25)
               : std::ldexp(static_cast<float>(mantissa), -24);
  return sign ? -magnitude : magnitude;
}

uint16_t float_to_fp16(float value) {
  const auto sign = static_cast<uint16_t>(sign_of(value) ? 0x8000u : 0u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00u;
  if (magnitude >= 65520.0f) return sign | 0x7c00u;
  if (magnitude == 0) return sign;
  constexpr SmallFloat kF16{10, 15, 0x7c00};
  return static_cast<uint16_t>(sign | encode_magnitude(kF16, magnitude));
}

float e4m3_to_float(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const float value = magnitude == 0x7f ? std::bit_cast<float>(0x7fc00000u) : decode(kE4M3, magnitude);
  return std::copysign(value, code & 0x80u ? -1.0f : 1.0f);
}

float e5m2_to_float(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const float value = magnitude > 0x7c    ? std::bit_cast<float>(0x7fc00000u)
                      : magnitude == 0x7c ? std::bit_cast<float>(0x7f800000u)
                                          : decode(kE5M2, magnitude);
  return std::copysign(value, code & 0x80u ? -1.0f : 1.0f);
}

float e2m1_to_float(uint8_t code) {
  return std::copysign(decode(kE2M1, code & 7u), code & 8u ? -1.0f : 1.0f);
}

float e8m0_to_float(uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return std::ldexp(1.0f, static_cast<int>(code) - 127);
}

uint8_t float_to_e4m3(float value) {
  const uint32_t sign = sign_of(value) ? 0x80u : 0u;
  return static_cast<uint8_t>(sign | (std::isnan(value) ? 0x7fu : encode(kE4M3, std::fabs(value))));
}

uint8_t float_to_e5m2(float value) {
  const uint32_t sign = sign_of(value) ? 0x80u : 0u;
  return static_cast<uint8_t>(sign | (std::isnan(value) ? 0x7fu : encode(kE5M2, std::fabs(value))));
}

uint8_t float_to_e2m1(float value) {
  if (std::isnan(value)) return 255;
  return static_cast<uint8_t>((sign_of(value) ? 8u : 0u) | encode(kE2M1, std::fabs(value)));
}

float load_high_precision(DType dtype, const void* data, int64_t index) {
  if (dtype == DType::kBF16) return bf16_to_float(static_cast<const uint16_t*>(data)[index]);
  if (dtype == DType::kF16) return fp16_to_float(static_cast<const uint16_t*>(data)[index]);
  return static_cast<const float*>(data)[index];
}

void store_high_precision(DType dtype, void* data, int64_t index, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] = dtype == DType::kBF16 ? float_to_bf16(value) : float_to_fp16(value);
  }
}

float round_to(DType dtype, float value) {
  if (dtype == DType::kBF16) return bf16_to_float(float_to_bf16(value));
  if (dtype == DType::kF16) return fp16_to_float(float_to_fp16(value));
  return value;
}

}  // namespace liveweight
