// From kLanes codes in memory to fp32 in a register, one struct a code. `kFactor` is a power of two that the
// scale takes on, where the bits are easier to widen without it. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#undef LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#else
#define LIVEWEIGHT_INFER_CODE_LOADERS_INL_H_
#endif

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
};

struct LoadF16 {
  static constexpr int64_t kBits = 16;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    return hn::PromoteTo(FloatTag(), load_codes<hwy::float16_t>(row, col));
  }
};

struct LoadBF16 {
  static constexpr int64_t kBits = 16;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    const auto wide = hn::PromoteTo(CodeTag<uint32_t>(), load_codes<uint16_t>(row, col));
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(wide));
  }
};

struct LoadI8 {
  static constexpr int64_t kBits = 8;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    return hn::ConvertTo(FloatTag(), hn::PromoteTo(CodeTag<int32_t>(), load_codes<int8_t>(row, col)));
  }
};

// Its exponent and mantissa, moved under fp16's, make 2^-8 of the value, subnormals too. NaN codes come out
// as 480.
struct LoadE4M3 {
  static constexpr int64_t kBits = 8;
  static constexpr float kFactor = 256;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    const CodeTag<int16_t> d16;
    const auto wide = hn::ShiftLeft<7>(hn::PromoteTo(d16, load_codes<int8_t>(row, col)));
    const auto half = hn::And(wide, hn::Set(d16, static_cast<int16_t>(0xbfff)));
    return hn::PromoteTo(FloatTag(), hn::BitCast(CodeTag<hwy::float16_t>(), half));
  }
};

// Two codes a byte: byte b widened to 16 bits and b << 4 under a mask are the low code and, one byte on, the
// high one.
struct LoadI4 {
  static constexpr int64_t kBits = 4;
  static constexpr float kFactor = 1;
  static HWY_INLINE FloatVector load(const std::byte* row, int64_t col) {
    const hn::Half<CodeTag<uint8_t>> d_pairs;
    const hn::Rebind<uint16_t, decltype(d_pairs)> d16;
    const auto pairs = hn::LoadU(d_pairs, reinterpret_cast<const uint8_t*>(row) + col / 2);
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
