// Numbers of code space to e4m3. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_E4M3_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_E4M3_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_E4M3_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_E4M3_CODES_INL_H_
#endif

#include "quantize/codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Where nearly always all numbers are from 2^-6 to 448: the upper halves of their bits, rounded to three of
// the mantissa, are the codes but for the bias.
struct E4M3Halves {
  using Vector = hn::Vec<HalfTag>;
  static constexpr uint32_t kSmallestExponent = 127 - 6;

  Vector even, odd;  // of vectors a and c, of b and d: in turn

  static HWY_INLINE E4M3Halves of(WordVector a, WordVector b, WordVector c, WordVector d) {
    const HalfTag half;
    const auto both = [&](WordVector low, WordVector high) HWY_ATTR {
      return hn::OddEven(hn::BitCast(half, high), hn::BitCast(half, hn::ShiftRight<16>(low)));
    };
    return {both(a, c), both(b, d)};
  }

  HWY_INLINE bool all_normal() const {
    // Bits of 2^-6 and 480 without their signs; the last four mean nothing.
    constexpr uint16_t kLeast = 2 * 0x3c80, kEnd = 2 * 0x43f0;
    const HalfTag d;
    const auto above = [&](Vector x) HWY_ATTR { return hn::Sub(hn::Add(x, x), hn::Set(d, kLeast)); };
    return hn::AllTrue(d, hn::Lt(hn::Max(above(even), above(odd)), hn::Set(d, kEnd - kLeast)));
  }

  // The bytes of a, b, c and d.
  HWY_INLINE hn::Vec<ByteTag> codes() const {
    const auto four = hn::Or(code_of(even), hn::ShiftLeft<8>(code_of(odd)));
    return transposed(hn::BitCast(ByteTag(), four));
  }

 private:
  static HWY_INLINE Vector code_of(Vector x) {
    const HalfTag d;
    const auto magnitude = hn::Sub(hn::ShiftRight<4>(x), hn::Set(d, (kSmallestExponent - 1) << 3));
    return hn::Or(hn::And(magnitude, hn::Set(d, 0x7f)), hn::And(hn::ShiftRight<8>(x), hn::Set(d, 0x80)));
  }
};

// Codes of vectors of code space: of one, in the low bits of each lane, or the bytes of four.
struct E4M3Codes {
  static constexpr int kBits = 8;

  explicit HWY_INLINE E4M3Codes(const Factors&) {}

  // Nearest even comes from adding a power of two whose last place is one step of e4m3 there; below 2^-6 the
  // steps stay what they are at 2^-6.
  HWY_INLINE WordVector operator()(FloatVector x) const {
    constexpr uint32_t kSmallestExponent = E4M3Halves::kSmallestExponent;
    const WordTag d;
    const FloatTag f;
    const auto sign = hn::And(hn::ShiftRight<24>(hn::BitCast(d, x)), hn::Set(d, 0x80u));
    const FloatVector magnitude = hn::Min(hn::Abs(x), hn::Set(f, 448.0f));
    const auto exponent = hn::Max(hn::And(hn::BitCast(d, magnitude), hn::Set(d, 0x7f800000u)),
                                  hn::Set(d, kSmallestExponent << 23));
    const auto power = hn::Add(exponent, hn::Set(d, 20u << 23));
    const auto sum = hn::BitCast(d, hn::Add(magnitude, hn::BitCast(f, power)));
    const auto steps = hn::Sub(sum, power);
    const auto code =
        hn::Add(steps, hn::Sub(hn::ShiftRight<20>(exponent), hn::Set(d, kSmallestExponent << 3)));
    return hn::Or(code, sign);
  }

  HWY_INLINE hn::Vec<ByteTag> four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    const auto halves = E4M3Halves::of(rounded(a), rounded(b), rounded(c), rounded(d));
    if (HWY_LIKELY(halves.all_normal())) return halves.codes();
    return low_bytes((*this)(a), (*this)(b), (*this)(c), (*this)(d));
  }

 private:
  static HWY_INLINE WordVector rounded(FloatVector x) {
    const WordTag d;
    const auto bits = hn::BitCast(d, x);
    const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(d, 1u));
    return hn::Add(hn::Add(bits, hn::Set(d, 0x7ffffu)), odd);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
