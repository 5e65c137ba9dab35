// The three dtypes of sources, as vectors of fp32 lanes and as integers whose order is that of the values.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_SOURCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_SOURCE_INL_H_
#undef LIVEWEIGHT_QUANTIZE_SOURCE_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_SOURCE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<FloatTag>;
using IntTag = hn::RebindToSigned<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;
inline constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

// The low bytes of 32-bit lanes. Not by TruncateTo, which Highway 1.0.3 gets wrong on AVX3_DL.
template <class D>
HWY_INLINE auto low_bytes(D d, hn::Vec<D> words) {
  const hn::RebindToSigned<D> same;
  return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::BitCast(same, hn::And(words, hn::Set(d, 0xffu))));
}

// `Bits` is an element as a signed integer. Without its sign bit it grows with the magnitude, and from
// kInfinity on the element is not finite. `rounded` is round_to (tensor/codec.h) on every lane,
// `rounded_quotient` and `rounded_product` the same for quotients and products of two numbers of the dtype
// (not for the sign of a product of zero), and `bits_of` the Bits of what is rounded already.
struct BF16Source {
  using Bits = int16_t;
  static constexpr Bits kInfinity = 0x7f80;
  static constexpr int kMantissaBits = 7;

  using Lanes = hn::Rebind<Bits, FloatTag>;

  static HWY_INLINE FloatVector widened(hn::Vec<Lanes> bits) {
    const auto words = hn::PromoteTo(WordTag(), hn::BitCast(hn::RebindToUnsigned<Lanes>(), bits));
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(words));
  }

  static HWY_INLINE FloatVector load(const Bits* from) { return widened(hn::LoadU(Lanes(), from)); }

  static HWY_INLINE FloatVector rounded(FloatVector x) {
    const WordTag d;
    const auto bits = hn::BitCast(d, x);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
    const auto sum = hn::Add(hn::Add(bits, hn::Set(d, 0x7fffu)), odd);
    return hn::BitCast(FloatTag(), hn::And(sum, hn::Set(d, 0xffff0000u)));
  }

  // No quotient lies half-way: that times the divisor would have more bits than a number of the dtype.
  static HWY_INLINE FloatVector rounded_quotient(FloatVector x) {
    const WordTag d;
    const auto sum = hn::Add(hn::BitCast(d, x), hn::Set(d, 0x8000u));
    return hn::BitCast(FloatTag(), hn::And(sum, hn::Set(d, 0xffff0000u)));
  }

  // It has sixteen bits. Added to itself 2^16 times as large, it is rounded to the eight that the sum has
  // left, where a tie goes by the last one of them.
  static HWY_INLINE FloatVector rounded_product(FloatVector x) {
    const auto shift = hn::Set(FloatTag(), 0x1p16f);
    return hn::NegMulAdd(x, shift, hn::MulAdd(x, shift, x));
  }

  static HWY_INLINE hn::Vec<IntTag> bits_of(FloatVector x) {
    return hn::ShiftRight<16>(hn::BitCast(IntTag(), x));
  }
};

struct F16Source {
  using Bits = int16_t;
  static constexpr Bits kInfinity = 0x7c00;
  static constexpr int kMantissaBits = 10;
  using Half = hn::Rebind<hwy::float16_t, FloatTag>;

  using Lanes = hn::Rebind<Bits, FloatTag>;

  static HWY_INLINE FloatVector widened(hn::Vec<Lanes> bits) {
    return hn::PromoteTo(FloatTag(), hn::BitCast(Half(), bits));
  }

  static HWY_INLINE FloatVector load(const Bits* from) { return widened(hn::LoadU(Lanes(), from)); }

  static HWY_INLINE FloatVector rounded(FloatVector x) {
    return hn::PromoteTo(FloatTag(), hn::DemoteTo(Half(), x));
  }

  static HWY_INLINE FloatVector rounded_quotient(FloatVector x) { return rounded(x); }
  static HWY_INLINE FloatVector rounded_product(FloatVector x) { return rounded(x); }

  static HWY_INLINE hn::Vec<IntTag> bits_of(FloatVector x) {
    return hn::PromoteTo(IntTag(), hn::BitCast(hn::Rebind<int16_t, IntTag>(), hn::DemoteTo(Half(), x)));
  }
};

struct F32Source {
  using Bits = int32_t;
  static constexpr Bits kInfinity = 0x7f800000;
  static constexpr int kMantissaBits = 23;

  using Lanes = IntTag;

  static HWY_INLINE FloatVector widened(hn::Vec<Lanes> bits) { return hn::BitCast(FloatTag(), bits); }
  static HWY_INLINE FloatVector load(const Bits* from) { return widened(hn::LoadU(Lanes(), from)); }

  static HWY_INLINE FloatVector rounded(FloatVector x) { return x; }
  static HWY_INLINE FloatVector rounded_quotient(FloatVector x) { return x; }
  static HWY_INLINE FloatVector rounded_product(FloatVector x) { return x; }
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
