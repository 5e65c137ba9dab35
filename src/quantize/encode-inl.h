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
  float lowest = 0, highest = 0;  // of integer codes
};

// `kZeroPoint`: whether offsets of kDivideRounded are other than 0, so that their sum must be rounded again.
template <class S, Encoding kEncoding, bool kZeroPoint>
HWY_INLINE FloatVector to_code_space(FloatVector x, FloatVector factor, FloatVector offset) {
  switch (kEncoding) {
    case Encoding::kDivide:
      return hn::Div(x, factor);
    case Encoding::kMultiply:
    case Encoding::kMultiplyFactor:
      return hn::Mul(x, factor);
    case Encoding::kDivideRounded: {
      const FloatVector sum = hn::Add(S::rounded(hn::Div(x, factor)), offset);
      return kZeroPoint ? S::rounded(sum) : sum;
    }
    case Encoding::kMultiplyRounded:
      return S::rounded(hn::Mul(x, factor));
    case Encoding::kOffsetDivide:
      return hn::Div(hn::Sub(x, offset), factor);
    case Encoding::kOffsetDivideRounded:
      return S::rounded(hn::Div(S::rounded(hn::Sub(x, offset)), factor));
  }
}

using WordVector = hn::Vec<WordTag>;

// One code in the low bits of each lane. Nearest even comes from adding a power of two whose last place is
// one step of e4m3 there; below 2^-6 the steps stay what they are at 2^-6.
struct E4M3Codes {
  static constexpr int kBits = 8;

  explicit HWY_INLINE E4M3Codes(const Factors&) {}

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

 private:
  static constexpr uint32_t kSmallestExponent = 127 - 6;
};

struct IntegerCodes {
  explicit HWY_INLINE IntegerCodes(const Factors& factors)
      : lowest(hn::Set(FloatTag(), factors.lowest)), highest(hn::Set(FloatTag(), factors.highest)) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    const FloatVector clamped = hn::Min(hn::Max(x, lowest), highest);
    return hn::BitCast(WordTag(), hn::NearestInt(clamped));
  }

  FloatVector lowest, highest;
};

struct Int8Codes : IntegerCodes {
  static constexpr int kBits = 8;
  explicit HWY_INLINE Int8Codes(const Factors& factors) : IntegerCodes(factors) {}
};

// Code + 8. Factors give the range of what is rounded, and `kShift` makes 0 to 15 of it.
template <uint32_t kShift>
struct Int4Codes : IntegerCodes {
  static constexpr int kBits = 4;
  explicit HWY_INLINE Int4Codes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    return hn::Add(IntegerCodes::operator()(x), hn::Set(WordTag(), kShift));
  }
};

// The bytes of kLanes codes: kLanes of them, or half as many with two codes each, the even one in the low
// nibble.
template <int kBits>
HWY_INLINE auto pack(WordVector codes) {
  if constexpr (kBits == 8) {
    return low_bytes(WordTag(), codes);
  } else {
    const hn::RepartitionToWide<WordTag> pairs;
    const auto both = hn::BitCast(pairs, codes);
    const auto byte = hn::And(hn::Or(both, hn::ShiftRight<28>(both)), hn::Set(pairs, 0xffu));
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

// Copies to memory past the caches, where `to` is aligned for it.
HWY_INLINE void stream_bytes(const uint8_t* from, uint8_t* to, int64_t count) {
  const hn::CappedTag<uint8_t, 64> d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  if (reinterpret_cast<uintptr_t>(to) % static_cast<size_t>(step) == 0) {
    for (; i + step <= count; i += step) hn::Stream(hn::LoadU(d, from + i), d, to + i);
  }
  std::memcpy(to + i, from + i, static_cast<size_t>(count - i));
}

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
class Encoder {
 public:
  using Bits = typename S::Bits;

  explicit HWY_INLINE Encoder(const Factors& factors)
      : factor_(hn::Set(FloatTag(), factors.factor)),
        offset_(hn::Set(FloatTag(), factors.offset)),
        codes_(factors) {}

  // Elements of one row to its codes, `to` at a byte's beginning. Past the caches where `to` is aligned.
  // `ahead`: how many bytes behind `from` lies what is wanted in the second-level cache soon; 0 for nothing.
  HWY_INLINE void run(const Bits* from, int64_t count, uint8_t* to, int64_t ahead) const {
    const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0;
    int64_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes, to += 4 * kBytes) {
      if (ahead) prefetch(from + i, ahead);
      const auto low = hn::Combine(kPair, pack_at(from + i + kLanes), pack_at(from + i));
      const auto high = hn::Combine(kPair, pack_at(from + i + 3 * kLanes), pack_at(from + i + 2 * kLanes));
      store_bytes(hn::Combine(kQuad, high, low), kQuad, to, stream);
    }
    for (; i + kLanes <= count; i += kLanes, to += kBytes) hn::StoreU(pack_at(from + i), kSingle, to);
    if (i < count) rest(from + i, count - i, to);
  }

  // Whole vectors, into the caches.
  HWY_INLINE void vectors(const Bits* from, int64_t count, uint8_t* to, int64_t ahead) const {
    for (int64_t i = 0; i < count; i += kLanes, to += kBytes) {
      if (ahead && i % (4 * kLanes) == 0) prefetch(from + i, ahead);
      hn::StoreU(pack_at(from + i), kSingle, to);
    }
  }

  static HWY_INLINE void prefetch(const Bits* at, int64_t ahead) {
    const auto* line = reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(at) + ahead);
    for (size_t byte = 0; byte < 4 * kLanes * sizeof(Bits); byte += 64) {
      __builtin_prefetch(line + byte, 0, 2);
    }
  }

  HWY_INLINE FloatVector code_space(FloatVector x) const {
    return to_code_space<S, kEncoding, kZeroPoint>(x, factor_, offset_);
  }

 private:
  static constexpr int64_t kBytes = kLanes * Codes::kBits / 8;
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(kBytes)> kSingle{};
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(2 * kBytes)> kPair{};
  static constexpr hn::CappedTag<uint8_t, static_cast<size_t>(4 * kBytes)> kQuad{};

  HWY_INLINE auto pack_at(const Bits* from) const {
    return pack<Codes::kBits>(codes_(code_space(S::load(from))));
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

  FloatVector factor_, offset_;
  Codes codes_;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
