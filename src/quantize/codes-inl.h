// Numbers of code space to codes: int8, int4. Included once for each instruction set, as Highway wants
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
  float factor, offset;
  float reciprocal;       // of `factor`, where the encoding divides by it
  float lowest, highest;  // of integer codes
};

// Codes of vectors of code space: of one, in the low bits of each lane, or the bytes of four.
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

// The same codes one a byte, from -8 to 7.
template <uint32_t kShift>
struct Int4ByteCodes : IntegerCodes {
  static constexpr int kBits = 8;
  explicit HWY_INLINE Int4ByteCodes(const Factors& factors) : IntegerCodes(factors) {}

  HWY_INLINE WordVector operator()(FloatVector x) const {
    return hn::Sub(IntegerCodes::operator()(x), hn::Set(WordTag(), 8 - kShift));
  }

  HWY_INLINE hn::Vec<ByteTag> four(FloatVector a, FloatVector b, FloatVector c, FloatVector d) const {
    const auto clamped = hn::Min(hn::Max(nearest_bytes(a, b, c, d), lowest_byte), highest_byte);
    return hn::BitCast(ByteTag(), hn::Sub(clamped, hn::Set(SignedByteTag(), int8_t{8 - kShift})));
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
