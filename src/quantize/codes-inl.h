// Numbers of code space to codes: e4m3, int8, int4. Included once for each instruction set, as Highway wants
// it.
#if defined(LIVEWEIGHT_QUANTIZE_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_CODES_INL_H_
#endif

#include "quantize/nearest_bytes-inl.h"
#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

struct Factors {
  float factor = 0, offset = 0;
  float reciprocal = 0;           // of `factor`, where the encoding divides by it
  float lowest = 0, highest = 0;  // of integer codes
};

// Codes of vectors of code space: of one, in the low bits of each lane, or the bytes of four.
struct E4M3Codes {
  static constexpr int kBits = 8;

  explicit HWY_INLINE E4M3Codes(const Factors&) {}

  // Nearest even comes from adding a power of two whose last place is one step of e4m3 there; below 2^-6 the
  // steps stay what they are at 2^-6.
  HWY_INLINE WordVector operator()(FloatVector x) const {
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

  // Nearly always all of them are from 2^-6 to 448. Then the bits, rounded to three of the mantissa, are the
  // code but for the bias.
  HWY_INLINE hn::Vec<ByteTag> four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    const auto low = upper_halves(rounded(a), rounded(b)), high = upper_halves(rounded(c), rounded(d));
    if (HWY_UNLIKELY(!all_normal(low, high))) {
      return low_bytes((*this)(a), (*this)(b), (*this)(c), (*this)(d));
    }
    const ByteTag bytes;
    return hn::ConcatEven(bytes, hn::BitCast(bytes, code_of(high)), hn::BitCast(bytes, code_of(low)));
  }

 private:
  static constexpr uint32_t kSmallestExponent = 127 - 6;
  using HalfVector = hn::Vec<HalfTag>;

  static HWY_INLINE WordVector rounded(FloatVector x) {
    const WordTag d;
    const auto bits = hn::BitCast(d, x);
    const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(d, 1u));
    return hn::Add(hn::Add(bits, hn::Set(d, 0x7ffffu)), odd);
  }

  static HWY_INLINE HalfVector upper_halves(WordVector a, WordVector b) {
    const HalfTag half;
    return hn::ConcatOdd(half, hn::BitCast(half, b), hn::BitCast(half, a));
  }

  static HWY_INLINE bool all_normal(HalfVector low, HalfVector high) {
    const hn::RebindToSigned<HalfTag> d;
    const auto mask = hn::Set(d, 0x7fff);
    const auto a = hn::And(hn::BitCast(d, low), mask), b = hn::And(hn::BitCast(d, high), mask);
    // Bits of 2^-6 and 448; the last four mean nothing.
    const auto low_enough = hn::Lt(hn::Max(a, b), hn::Set(d, 0x43f0));
    const auto high_enough = hn::Gt(hn::Min(a, b), hn::Set(d, 0x3c7f));
    return hn::AllTrue(d, hn::And(low_enough, high_enough));
  }

  static HWY_INLINE HalfVector code_of(HalfVector x) {
    const HalfTag d;
    const auto magnitude = hn::Sub(hn::ShiftRight<4>(x), hn::Set(d, (kSmallestExponent - 1) << 3));
    return hn::Or(hn::And(magnitude, hn::Set(d, 0x7f)), hn::And(hn::ShiftRight<8>(x), hn::Set(d, 0x80)));
  }
};

struct IntegerCodes {
  explicit HWY_INLINE IntegerCodes(const Factors& factors)
      : lowest(hn::Set(FloatTag(), factors.lowest)),
        highest(hn::Set(FloatTag(), factors.highest)),
        lowest_byte(hn::Set(SignedByteTag(), static_cast<int8_t>(factors.lowest))),
        highest_byte(hn::Set(SignedByteTag(), static_cast<int8_t>(factors.highest))) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    const FloatVector clamped = hn::Min(hn::Max(x, lowest), highest);
    return hn::BitCast(WordTag(), hn::Add(clamped, hn::Set(FloatTag(), kRounding)));
  }

  FloatVector lowest, highest;
  hn::Vec<SignedByteTag> lowest_byte, highest_byte;
};

// Codes end where bytes do, at 127.
struct Int8Codes : IntegerCodes {
  static constexpr int kBits = 8;
  explicit HWY_INLINE Int8Codes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE hn::Vec<ByteTag> four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    return hn::BitCast(ByteTag(), hn::Max(nearest_bytes(a, b, c, d), lowest_byte));
  }
};

// Code + 8. Factors give the range of what is rounded, and `kShift` makes 0 to 15 of it.
template <uint32_t kShift>
struct Int4Codes : IntegerCodes {
  static constexpr int kBits = 4;
  explicit HWY_INLINE Int4Codes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    constexpr uint32_t kZero = 0x4b400000;  // bits of kRounding
    return hn::Sub(IntegerCodes::operator()(x), hn::Set(WordTag(), kZero - kShift));
  }

  HWY_INLINE auto four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    const auto clamped = hn::Min(hn::Max(nearest_bytes(a, b, c, d), lowest_byte), highest_byte);
    const auto codes = hn::Add(clamped, hn::Set(SignedByteTag(), int8_t{kShift}));
    const HalfTag pairs;
    const auto both = hn::BitCast(pairs, codes);
    const auto bytes = hn::And(hn::Or(both, hn::ShiftRight<4>(both)), hn::Set(pairs, 0xff));
    return hn::DemoteTo(hn::Rebind<uint8_t, HalfTag>(), hn::BitCast(hn::RebindToSigned<HalfTag>(), bytes));
  }

  // The code of an odd lane above that of the even lane below it, in the even lane's low byte.
  static HWY_INLINE WordVector paired(WordVector codes) {
    const hn::RepartitionToWide<WordTag> pairs;
    const auto both = hn::BitCast(pairs, codes);
    return hn::BitCast(WordTag(), hn::Or(both, hn::ShiftRight<28>(both)));
  }
};

// The bytes of kLanes codes: kLanes of them, or half as many with two codes each, the even one in the low
// nibble.
template <class Codes>
HWY_INLINE auto pack(WordVector codes) {
  if constexpr (Codes::kBits == 8) {
    return low_bytes(WordTag(), codes);
  } else {
    const hn::RepartitionToWide<WordTag> pairs;
    const auto byte = hn::And(hn::BitCast(pairs, Codes::paired(codes)), hn::Set(pairs, 0xffu));
    return hn::TruncateTo(hn::Rebind<uint8_t, decltype(pairs)>(), byte);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
