// encode_e4m3 and encode_integer (profile.h) for runs of elements of one unit whose scale and factor are
// finite and not zero. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ENCODE_INL_H_
#endif

#include <cstring>

#include "base/fetch.h"
#include "quantize/codes-inl.h"
#include "quantize/profile.h"
#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

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
      const FloatVector sum = hn::Add(S::rounded_quotient(factor.template divides<kRounded>(x)), offset);
      return kZeroPoint ? S::rounded(sum) : sum;
    }
    case Encoding::kMultiplyRounded:
      return S::rounded_product(hn::Mul(x, factor.value));
    case Encoding::kOffsetDivide:
      return factor.template divides<kExact>(hn::Sub(x, offset));
    case Encoding::kOffsetDivideRounded:
      return S::rounded_quotient(factor.template divides<kRounded>(S::rounded(hn::Sub(x, offset))));
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
  // `ahead`: how many bytes behind `from` lies what is wanted in the cache soon.
  HWY_INLINE void run(const Bits* from, int64_t count, uint8_t* to, int64_t ahead) const {
    const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0, second_level = kFetchesIntoSecondLevel;
    int64_t i = 0;
    if constexpr (Codes::kBits == 4) {
      for (; i + 8 * kLanes <= count; i += 8 * kLanes, to += 8 * kBytes) {
        prefetch(from + i, ahead, second_level);
        prefetch(from + i + 4 * kLanes, ahead, second_level);
        const auto bytes = hn::Combine(kEight, four_at(from + i + 4 * kLanes), four_at(from + i));
        store_bytes(bytes, kEight, to, stream);
      }
    }
    for (; i + 4 * kLanes <= count; i += 4 * kLanes, to += 4 * kBytes) {
      prefetch(from + i, ahead, second_level);
      store_bytes(four_at(from + i), kFour, to, stream);
    }
    for (; i + kLanes <= count; i += kLanes, to += kBytes) hn::StoreU(pack_at(from + i), kSingle, to);
    if (i < count) rest(from + i, count - i, to);
  }

  // The 2 * kLanes elements of each of four units side by side.
  static HWY_INLINE void run_four(const Encoder& a, const Encoder& b, const Encoder& c, const Encoder& d,
                                  const Bits* from, uint8_t* to, bool stream, int64_t ahead) {
    prefetch(from, ahead, kFetchesIntoSecondLevel);
    prefetch(from + 4 * kLanes, ahead, kFetchesIntoSecondLevel);
    store_bytes(hn::Combine(kEight, two(c, d, from + 4 * kLanes), two(a, b, from)), kEight, to, stream);
  }

  // The same of two units, for codes that have a byte each.
  static HWY_INLINE void run_two(const Encoder& a, const Encoder& b, const Bits* from, uint8_t* to,
                                 bool stream, int64_t ahead) {
    prefetch(from, ahead, kFetchesIntoSecondLevel);
    store_bytes(two(a, b, from), kFour, to, stream);
  }

  static HWY_INLINE void prefetch(const Bits* at, int64_t ahead, bool second_level) {
    const auto* line = reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(at) + ahead);
    fetch_lines(line, 4 * kLanes * sizeof(Bits), second_level);
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
