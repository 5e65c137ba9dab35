// encode_e4m3 and encode_integer (profile.h) for runs of elements of one unit whose scale and factor are
// finite and not zero. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#endif

#include <cstring>

#include "quantize/profile.h"
#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

struct Factors {
  float factor = 0, offset = 0;
  float reciprocal = 0;           // of `factor`, where the encoding divides by it
  float lowest = 0, highest = 0;  // of integer codes
};

// x / divisor as the division rounds it, without one: the product with the reciprocal, corrected. The first
// correction brings it to less than a step from the quotient, and of such a number the second makes the
// quotient rounded to nearest (Markstein). Fewer do where the quotient is then rounded to so few bits that no
// quotient of such numbers comes close to a tie. Divisors are from 2^-80 to 2^80; below 2^-100, where rests
// are not exact, an element has code 0 or none.
template <int kCorrections>
HWY_INLINE FloatVector quotient(FloatVector x, FloatVector divisor, FloatVector reciprocal) {
  FloatVector q = hn::Mul(x, reciprocal);
  // The excess, not what is left: so minus zero stays what it is.
  for (int i = 0; i < kCorrections; ++i) q = hn::NegMulAdd(hn::MulSub(q, divisor, x), reciprocal, q);
  return q;
}

// What a unit's elements are multiplied with or divided by.
struct UnitFactor {
  FloatVector value, reciprocal;

  template <int kCorrections>
  HWY_INLINE FloatVector divides(FloatVector x) const {
    return quotient<kCorrections>(x, value, reciprocal);
  }
};

// The same where every lane is of another unit.
struct LaneFactor {
  FloatVector value;

  template <int kCorrections>
  HWY_INLINE FloatVector divides(FloatVector x) const {
    return hn::Div(x, value);
  }
};

// `kZeroPoint`: whether offsets of kDivideRounded are other than 0, so that their sum must be rounded again.
template <class S, Encoding kEncoding, bool kZeroPoint, class Factor>
HWY_INLINE FloatVector to_code_space(FloatVector x, const Factor& factor, FloatVector offset) {
  constexpr int kExact = 2, kRounded = S::kMantissaBits == 7 ? 0 : S::kMantissaBits == 10 ? 1 : kExact;
  switch (kEncoding) {
    case Encoding::kDivide:
      return factor.template divides<kExact>(x);
    case Encoding::kMultiply:
    case Encoding::kMultiplyFactor:
      return hn::Mul(x, factor.value);
    case Encoding::kDivideRounded: {
      const FloatVector sum = hn::Add(S::rounded(factor.template divides<kRounded>(x)), offset);
      return kZeroPoint ? S::rounded(sum) : sum;
    }
    case Encoding::kMultiplyRounded:
      return S::rounded(hn::Mul(x, factor.value));
    case Encoding::kOffsetDivide:
      return factor.template divides<kExact>(hn::Sub(x, offset));
    case Encoding::kOffsetDivideRounded:
      return S::rounded(factor.template divides<kRounded>(S::rounded(hn::Sub(x, offset))));
  }
}

using WordVector = hn::Vec<WordTag>;
using HalfTag = hn::Repartition<uint16_t, WordTag>;
using ByteTag = hn::Repartition<uint8_t, WordTag>;

// The low bytes of four vectors, in order.
HWY_INLINE hn::Vec<ByteTag> low_bytes(WordVector a, WordVector b, WordVector c, WordVector d) {
  const HalfTag half;
  const auto low = hn::ConcatEven(half, hn::BitCast(half, b), hn::BitCast(half, a));
  const auto high = hn::ConcatEven(half, hn::BitCast(half, d), hn::BitCast(half, c));
  return hn::ConcatEven(ByteTag(), hn::BitCast(ByteTag(), high), hn::BitCast(ByteTag(), low));
}

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

// Nearest even comes from adding 1.5 * 2^23, whose last place is one.
struct IntegerCodes {
  explicit HWY_INLINE IntegerCodes(const Factors& factors)
      : lowest(hn::Set(FloatTag(), factors.lowest)), highest(hn::Set(FloatTag(), factors.highest)) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    const FloatVector clamped = hn::Min(hn::Max(x, lowest), highest);
    return hn::BitCast(WordTag(), hn::Add(clamped, hn::Set(FloatTag(), 0x1.8p23f)));
  }

  FloatVector lowest, highest;

 protected:
  static constexpr uint32_t kZero = 0x4b400000;
};

struct Int8Codes : IntegerCodes {
  static constexpr int kBits = 8;
  explicit HWY_INLINE Int8Codes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE hn::Vec<ByteTag> four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    return low_bytes((*this)(a), (*this)(b), (*this)(c), (*this)(d));
  }
};

// Code + 8. Factors give the range of what is rounded, and `kShift` makes 0 to 15 of it.
template <uint32_t kShift>
struct Int4Codes : IntegerCodes {
  static constexpr int kBits = 4;
  explicit HWY_INLINE Int4Codes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    return hn::Sub(IntegerCodes::operator()(x), hn::Set(WordTag(), kZero - kShift));
  }

  HWY_INLINE auto four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    const auto low = hn::ConcatEven(WordTag(), paired((*this)(b)), paired((*this)(a)));
    const auto high = hn::ConcatEven(WordTag(), paired((*this)(d)), paired((*this)(c)));
    return hn::LowerHalf(low_bytes(low, high, low, high));
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

template <class D>
HWY_INLINE void store_bytes(hn::Vec<D> bytes, D d, uint8_t* to, bool stream) {
  if constexpr (hn::MaxLanes(D()) >= 16) {
    if (stream) return hn::Stream(bytes, d, to);
  }
  hn::StoreU(bytes, d, to);
}

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
class Encoder {
 public:
  using Bits = typename S::Bits;

  explicit HWY_INLINE Encoder(const Factors& factors)
      : factor_{hn::Set(FloatTag(), factors.factor), hn::Set(FloatTag(), factors.reciprocal)},
        offset_(hn::Set(FloatTag(), factors.offset)),
        codes_(factors) {}

  // Elements of one row to its codes, `to` at a byte's beginning. Past the caches where `to` is aligned.
  // `ahead`: how many bytes behind `from` lies what is wanted in the second-level cache soon.
  HWY_INLINE void run(const Bits* from, int64_t count, uint8_t* to, int64_t ahead) const {
    const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0;
    int64_t i = 0;
    if constexpr (Codes::kBits == 4) {
      for (; i + 8 * kLanes <= count; i += 8 * kLanes, to += 8 * kBytes) {
        prefetch(from + i, ahead);
        prefetch(from + i + 4 * kLanes, ahead);
        const auto bytes = hn::Combine(kEight, four_at(from + i + 4 * kLanes), four_at(from + i));
        store_bytes(bytes, kEight, to, stream);
      }
    }
    for (; i + 4 * kLanes <= count; i += 4 * kLanes, to += 4 * kBytes) {
      prefetch(from + i, ahead);
      store_bytes(four_at(from + i), kFour, to, stream);
    }
    for (; i + kLanes <= count; i += kLanes, to += kBytes) hn::StoreU(pack_at(from + i), kSingle, to);
    if (i < count) rest(from + i, count - i, to);
  }

  // The 2 * kLanes elements of each of four units side by side.
  static HWY_INLINE void run_four(const Encoder& a, const Encoder& b, const Encoder& c, const Encoder& d,
                                  const Bits* from, uint8_t* to, bool stream, int64_t ahead) {
    prefetch(from, ahead);
    prefetch(from + 4 * kLanes, ahead);
    store_bytes(hn::Combine(kEight, two(c, d, from + 4 * kLanes), two(a, b, from)), kEight, to, stream);
  }

  static HWY_INLINE void prefetch(const Bits* at, int64_t ahead) {
    const auto* line = reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(at) + ahead);
    for (size_t byte = 0; byte < 4 * kLanes * sizeof(Bits); byte += 64) {
      __builtin_prefetch(line + byte, 0, 3);
    }
  }

  HWY_INLINE FloatVector code_space(FloatVector x) const {
    return to_code_space<S, kEncoding, kZeroPoint>(x, factor_, offset_);
  }

 private:
  static HWY_INLINE auto two(const Encoder& a, const Encoder& b, const Bits* from) {
    return a.codes_.four(a.code_space(S::load(from)), a.code_space(S::load(from + kLanes)),
                         b.code_space(S::load(from + 2 * kLanes)), b.code_space(S::load(from + 3 * kLanes)));
  }

  static constexpr int64_t kBytes = kLanes * Codes::kBits / 8;
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(kBytes)> kSingle{};
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(4 * kBytes)> kFour{};
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(8 * kBytes)> kEight{};

  HWY_INLINE auto pack_at(const Bits* from) const { return pack<Codes>(codes_(code_space(S::load(from)))); }

  HWY_INLINE auto four_at(const Bits* from) const {
    return codes_.four(code_space(S::load(from)), code_space(S::load(from + kLanes)),
                       code_space(S::load(from + 2 * kLanes)), code_space(S::load(from + 3 * kLanes)));
  }

  // Fewer than kLanes elements, and the nibble left over of the last byte cleared.
  HWY_NOINLINE void rest(const Bits* from, int64_t count, uint8_t* to) const {
    HWY_ALIGN Bits padded[kLanes] = {};
    HWY_ALIGN uint8_t bytes[kLanes];
    std::memcpy(padded, from, static_cast<size_t>(count) * sizeof(Bits));
    hn::StoreU(pack_at(padded), kSingle, bytes);
    if (Codes::kBits == 4 && count % 2) bytes[count / 2] &= 0x0f;
    std::memcpy(to, bytes, static_cast<size_t>((count * Codes::kBits + 7) / 8));
  }

  UnitFactor factor_;
  FloatVector offset_;
  Codes codes_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
