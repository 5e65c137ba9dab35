// The extremes of runs of elements, found among their bits as integers: no conversion, and what is not finite
// comes out on top. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_EXTREMES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_EXTREMES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_EXTREMES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_EXTREMES_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S>
using BitsTag = hn::CappedTag<typename S::Bits, 64 / sizeof(typename S::Bits)>;

template <class S>
inline constexpr typename S::Bits kMagnitude = std::numeric_limits<typename S::Bits>::max();

// 16-bit lanes folded, neighbour with neighbour, into 32-bit ones; by the order of `d`, and as signed
// numbers.
template <class D>
HWY_INLINE hn::Vec<IntTag> folded(D, hn::Vec<D> v) {
  if constexpr (sizeof(hn::TFromD<D>) == 2) {
    using T = std::conditional_t<std::is_signed_v<hn::TFromD<D>>, int32_t, uint32_t>;
    const hn::Rebind<T, IntTag> pair;
    const auto pairs = hn::BitCast(pair, v);
    return hn::ShiftRight<16>(hn::BitCast(IntTag(), hn::Max(pairs, hn::ShiftLeft<16>(pairs))));
  } else {
    return hn::BitCast(IntTag(), v);
  }
}

// Highway has no reduction of 16-bit lanes, so they are folded first.
template <class D>
HWY_INLINE int32_t largest_lane(D d, hn::Vec<D> v) {
  return hn::GetLane(hn::MaxOfLanes(IntTag(), folded(d, v)));
}

// The largest magnitude, as Bits without a sign.
template <class S>
class LargestMagnitude {
 public:
  using Bits = typename S::Bits;

  HWY_INLINE LargestMagnitude() : first_(hn::Zero(Tag())), second_(hn::Zero(Tag())) {}

  HWY_INLINE void add(const Bits* from, int64_t count) {
    const Tag d;
    const auto mask = hn::Set(d, kMagnitude<S>);
    int64_t i = 0;
    for (; i + 2 * kStep <= count; i += 2 * kStep) {
      first_ = hn::Max(first_, hn::And(mask, hn::LoadU(d, from + i)));
      second_ = hn::Max(second_, hn::And(mask, hn::LoadU(d, from + i + kStep)));
    }
    for (; i + kStep <= count; i += kStep) {
      first_ = hn::Max(first_, hn::And(mask, hn::LoadU(d, from + i)));
    }
    for (; i < count; ++i) rest_ = std::max<Bits>(rest_, from[i] & kMagnitude<S>);
  }

  // And copies them, past the caches where `to` is aligned.
  HWY_INLINE void add_copied(const Bits* from, int64_t count, Bits* to) {
    const Tag d;
    const auto mask = hn::Set(d, kMagnitude<S>);
    int64_t i = 0;
    if (reinterpret_cast<uintptr_t>(to) % (kStep * sizeof(Bits)) == 0) {
      for (; i + kStep <= count; i += kStep) {
        const auto bits = hn::LoadU(d, from + i);
        first_ = hn::Max(first_, hn::And(mask, bits));
        hn::Stream(bits, d, to + i);
      }
    }
    if (i == count) return;
    add(from + i, count - i);
    std::memcpy(to + i, from + i, static_cast<size_t>(count - i) * sizeof(Bits));
  }

  HWY_INLINE Bits get() const {
    return std::max<Bits>(rest_, static_cast<Bits>(largest_lane(Tag(), hn::Max(first_, second_))));
  }

 private:
  using Tag = BitsTag<S>;
  static constexpr int64_t kStep = hn::MaxLanes(Tag());
  hn::Vec<Tag> first_, second_;
  Bits rest_ = 0;
};

// The smallest and the largest element, by keys: the bits where positive, else all but the sign inverted.
template <class S>
class Range {
 public:
  using Bits = typename S::Bits;

  HWY_INLINE Range() : negative_(hn::Set(Tag(), kLowest)), positive_(hn::Set(Tag(), kLowest)) {}

  HWY_INLINE void add(const Bits* from, int64_t count) {
    const Tag d;
    const auto mask = hn::Set(d, kMagnitude<S>);
    int64_t i = 0;
    for (; i + kStep <= count; i += kStep) {
      const auto bits = hn::LoadU(d, from + i);
      const auto key = hn::Xor(bits, hn::And(mask, hn::BroadcastSignBit(bits)));
      // ~x turns the smallest key into the largest.
      negative_ = hn::Max(negative_, hn::Not(key));
      positive_ = hn::Max(positive_, key);
    }
    for (; i < count; ++i) {
      const Bits key = key_of(from[i]);
      rest_negative_ = std::max<Bits>(rest_negative_, ~key);
      rest_positive_ = std::max(rest_positive_, key);
    }
  }

  HWY_INLINE Bits largest() const {
    return key_of(std::max(rest_positive_, static_cast<Bits>(largest_lane(Tag(), positive_))));
  }
  HWY_INLINE Bits smallest() const {
    return key_of(~std::max(rest_negative_, static_cast<Bits>(largest_lane(Tag(), negative_))));
  }

 private:
  using Tag = BitsTag<S>;
  static constexpr int64_t kStep = hn::MaxLanes(Tag());
  static constexpr Bits kLowest = std::numeric_limits<Bits>::min();

  // Its own inverse.
  static Bits key_of(int bits) {
    return static_cast<Bits>(bits < 0 ? static_cast<Bits>(bits) ^ kMagnitude<S> : bits);
  }

  hn::Vec<Tag> negative_, positive_;
  Bits rest_negative_ = kLowest, rest_positive_ = kLowest;
};

// Bits of up to kLanes units, a unit a lane. Set in a register: a vector loaded from single numbers just
// stored waits until all stores before them, those past the caches among them, have left the processor.
template <class S>
class UnitLanes {
 public:
  HWY_INLINE UnitLanes() : lanes_(hn::Zero(Tag())) {}

  HWY_INLINE void set(int64_t unit, typename S::Bits bits) {
    const Tag d;
    const auto here = hn::Eq(hn::Iota(d, 0), hn::Set(d, static_cast<typename S::Bits>(unit)));
    lanes_ = hn::IfThenElse(here, hn::Set(d, bits), lanes_);
  }

  HWY_INLINE FloatVector widened() const { return S::widened(lanes_); }

 private:
  using Tag = typename S::Lanes;
  hn::Vec<Tag> lanes_;
};

template <class S>
HWY_INLINE bool is_finite(typename S::Bits bits) {
  return (bits & kMagnitude<S>) < S::kInfinity;
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
