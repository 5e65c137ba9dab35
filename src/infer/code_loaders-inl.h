// From kLanes codes in memory to fp32 in a register, one struct a code. `kFactor` is a power of two that the
// scale takes on, where the bits are easier to widen without it. `load_one` is for those that are factors
// too. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#undef LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#else
#define LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#endif

#include <bit>
#include <cstddef>

#include "infer/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <typename T>
using CodeTag = hn::Rebind<T, FloatTag>;

template <typename T>
HWY_INLINE hn::Vec<CodeTag<T>> load_codes(const std::byte* row, int64_t col) {
  return hn::LoadU(CodeTag<T>(), reinterpret_cast<const T*>(row) + col);
}

struct LoadF32 {
  static constexpr int64_t kBits = 32;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    return load_codes<float>(row, col);
  }
  static HWY_INLINE float load_one(const std::byte* row, int64_t col) {
    return reinterpret_cast<const float*>(row)[col];
  }
};

struct LoadF16 {
  static constexpr int64_t kBits = 16;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    return hn::PromoteTo(FloatTag(), load_codes<hwy::float16_t>(row, col));
  }
  static HWY_INLINE float load_one(const std::byte* row, int64_t col) {
    const auto bits = hn::Set(CodeTag<uint16_t>(), reinterpret_cast<const uint16_t*>(row)[col]);
    return hn::GetLane(hn::PromoteTo(FloatTag(), hn::BitCast(CodeTag<hwy::float16_t>(), bits)));
  }
};

struct LoadBF16 {
  static constexpr int64_t kBits = 16;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    const auto wide = hn::PromoteTo(CodeTag<uint32_t>(), load_codes<uint16_t>(row, col));
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(wide));
  }
  static HWY_INLINE float load_one(const std::byte* row, int64_t col) {
    return std::bit_cast<float>(uint32_t{reinterpret_cast<const uint16_t*>(row)[col]} << 16);
  }
};

struct LoadI8 {
  static constexpr int64_t kBits = 8;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    return hn::ConvertTo(FloatTag(), hn::PromoteTo(CodeTag<int32_t>(), load_codes<int8_t>(row, col)));
  }
  static HWY_INLINE float load_one(const std::byte* row, int64_t col) {
    return static_cast<float>(reinterpret_cast<const int8_t*>(row)[col]);
  }
};

// Its exponent and mantissa, moved under fp32's, make 2^-120 of the value, subnormals too. NaN codes come out
// as 480.
struct LoadE4M3 {
  static constexpr int64_t kBits = 8;
  static constexpr float kFactor = 0x1p120f;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    const CodeTag<int32_t> d32;
    const auto wide = hn::ShiftLeft<20>(hn::PromoteTo(d32, load_codes<int8_t>(row, col)));
    const auto bits = hn::And(wide, hn::Set(d32, static_cast<int32_t>(0x87f00000u)));
    return hn::BitCast(FloatTag(), bits);
  }
};

// Two codes a byte: byte b widened to 16 bits and b << 4 under a mask are the low code and, one byte on, the
// high one. A vector of one lane has no room for both.
struct LoadI4 {
  static constexpr int64_t kBits = 4;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    if constexpr (kLanes == 1) {
      const int code = std::to_integer<int>(row[col >> 1]) >> (col % 2 * 4) & 0x0f;
      return hn::Set(FloatTag(), static_cast<float>(code - 8));
    }
    const hn::Half<CodeTag<uint8_t>> d_pairs;
    const hn::Rebind<uint16_t, decltype(d_pairs)> d16;
    const auto pairs = hn::LoadU(d_pairs, reinterpret_cast<const uint8_t*>(row) + (col >> 1));
    const auto wide = hn::PromoteTo(d16, pairs);
    const auto split = hn::And(hn::Or(wide, hn::ShiftLeft<4>(wide)), hn::Set(d16, 0x0f0f));
    const auto codes = hn::PromoteTo(CodeTag<int32_t>(), hn::BitCast(CodeTag<uint8_t>(), split));
    return hn::ConvertTo(FloatTag(), hn::Sub(codes, hn::Set(CodeTag<int32_t>(), 8)));
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
