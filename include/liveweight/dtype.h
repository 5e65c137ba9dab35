// Element types by the names that safetensors gives them. Sizes are counted in bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace liveweight {

enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

// The name in a safetensors header: "BF16", "F8_E4M3".
std::string_view to_string(DType dtype);
std::optional<DType> dtype_from_string(std::string_view safetensors_name);
int bits_of(DType dtype);

// Bytes of `count` elements, or nothing where their bits are not whole bytes or overflow.
std::optional<uint64_t> bytes_of(DType dtype, uint64_t count);

// BF16, F16 and F32: what a trainer may send.
bool is_high_precision(DType dtype);

}  // namespace liveweight
