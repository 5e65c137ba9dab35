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

#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

template <class S>
using BitsTag = hn::CappedTag<typename S::Bits, 64 / sizeof(typename S::Bits)>;

template <class S>
inline constexpr typename S::Bits kMagnitude = std::numeric_limits<typename S::Bits>::max();

// 16-bit lanes folded, neighbour with neighbour, into 32-bit ones.
template <class D>
HWY_INLINE hn::Vec<IntTag> folded(D, hn::Vec<D> v) {
  if constexpr (sizeof(hn::TFromD<D>) == 2) {
    const auto pairs = hn::BitCast(IntTag(), v);
    return hn::Max(hn::ShiftRight<16>(pairs), hn::ShiftRight<16>(hn::ShiftLeft<16>(pairs)));
  } else {
    return v;
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

// The larger of two neighbours among 32-bit lanes: those of `low`, then those of `high`. By the order of `d`.
template <class D>
HWY_INLINE hn::Vec<IntTag> larger_neighbours(D d, hn::Vec<IntTag> high, hn::Vec<IntTag> low) {
  const auto even = hn::ConcatEven(IntTag(), high, low), odd = hn::ConcatOdd(IntTag(), high, low);
  return hn::BitCast(IntTag(), hn::Max(hn::BitCast(d, even), hn::BitCast(d, odd)));
}

// Again and again, until v[0] has what is left of all of them, in order.
template <class D>
HWY_INLINE void fold_neighbours(D d, hn::Vec<IntTag>* v, int64_t count) {
  for (int64_t n = count / 2; n >= 1; n /= 2) {
    for (int64_t i = 0; i < n; ++i) v[i] = larger_neighbours(d, v[2 * i + 1], v[2 * i]);
  }
}

// The larger of two neighbours among 16-bit lanes: those of `a` in even lanes, those of `b` in odd ones.
template <class D>
HWY_INLINE hn::Vec<IntTag> interleaved_neighbours(D d, hn::Vec<D> a, hn::Vec<D> b) {
  const auto up = hn::ShiftLeft<16>(hn::BitCast(WordTag(), b)),
             down = hn::ShiftRight<16>(hn::BitCast(WordTag(), a));
  return hn::BitCast(IntTag(), hn::Max(hn::OddEven(b, a), hn::BitCast(d, hn::Or(up, down))));
}

// Extremes of many groups of one row at once, a group a lane: of elements by LargestMagnitude's or Range's
// measure.
template <class S>
class GroupExtremes {
 public:
  using Bits = typename S::Bits;

  // Whether groups of that size can be done here.
  static constexpr bool fits(int64_t size) { return size % kStep == 0; }

  // largest[i]: the magnitude of group i of `count`. Groups are done by kLanes: `largest` has room for that.
  // False where an element is not finite.
  static HWY_INLINE bool magnitudes(const Bits* from, int64_t count, int64_t size, Bits* largest) {
    const auto magnitude = [](hn::Vec<Tag> bits) { return hn::And(bits, hn::Set(Tag(), kMagnitude<S>)); };
    auto all = hn::Zero(IntTag());
    for (int64_t i = 0; i < count; i += kLanes) {
      const auto lanes = extremes(from + i * size, std::min(kLanes, count - i), size, magnitude);
      all = hn::Max(all, lanes);
      store(lanes, largest + i);
    }
    return hn::AllTrue(IntTag(), hn::Lt(all, hn::Set(IntTag(), S::kInfinity)));
  }

  // The same for the smallest and the largest element, as Bits of the element.
  static HWY_INLINE bool ranges(const Bits* from, int64_t count, int64_t size, Bits* smallest,
                                Bits* largest) {
    const IntTag d;
    auto all = hn::Zero(d);
    for (int64_t i = 0; i < count; i += kLanes) {
      const Extremes unit = range(from + i * size, std::min(kLanes, count - i), size);
      const auto mask = hn::Set(d, kMagnitude<S>);
      all = hn::Max(all, hn::Max(hn::And(unit.high, mask), hn::And(unit.low, mask)));
      store(unit.high, largest + i);
      store(unit.low, smallest + i);
    }
    return hn::AllTrue(d, hn::Lt(all, hn::Set(d, S::kInfinity)));
  }

 private:
  using Tag = BitsTag<S>;
  static constexpr int64_t kStep = hn::MaxLanes(Tag());
  static constexpr Bits kSign = std::numeric_limits<Bits>::min();

  struct Extremes {
    hn::Vec<IntTag> high, low;
  };

  // Of groups with elements of either sign, which most are, the largest is the largest of their bits as
  // signed integers, and the smallest as unsigned ones.
  static HWY_INLINE Extremes range(const Bits* from, int64_t groups, int64_t size) {
    const IntTag d;
    const auto positive = [](hn::Vec<Tag> bits) { return bits; };
    const auto negative = [](hn::Vec<Tag> bits) { return hn::Xor(bits, hn::Set(Tag(), kSign)); };
    const auto high = extremes(from, groups, size, positive), low = extremes(from, groups, size, negative);
    if (HWY_LIKELY(hn::AllFalse(d, hn::Lt(hn::Min(high, low), hn::Zero(d))))) {
      return {high, hn::Xor(low, hn::Set(d, int32_t{kSign}))};
    }
    return range_by_keys(from, groups, size);
  }

  static HWY_NOINLINE Extremes range_by_keys(const Bits* from, int64_t groups, int64_t size) {
    const IntTag d;
    const auto positive = [](hn::Vec<Tag> bits) { return key_of(Tag(), bits); };
    const auto negative = [](hn::Vec<Tag> bits) { return hn::Not(key_of(Tag(), bits)); };
    return {key_of(d, extremes(from, groups, size, positive)),
            key_of(d, hn::Not(extremes(from, groups, size, negative)))};
  }

  // Bits where positive, else all but the sign inverted: their order is the elements'. Its own inverse.
  template <class D>
  static HWY_INLINE hn::Vec<D> key_of(D d, hn::Vec<D> bits) {
    return hn::Xor(bits, hn::And(hn::Set(d, kMagnitude<S>), hn::BroadcastSignBit(bits)));
  }

  // The largest measure of each of up to kLanes groups; lanes past them repeat the last.
  template <class Measure>
  static HWY_INLINE hn::Vec<IntTag> extremes(const Bits* from, int64_t groups, int64_t size,
                                             const Measure& measure) {
    hn::Vec<IntTag> all[kLanes];
    const Bits* const last = from + (groups - 1) * size;
    const auto next = [&]() HWY_ATTR {
      const auto most = largest(from, size, measure);
      from = std::min(from + size, last);
      return most;
    };
    if constexpr (sizeof(Bits) == 2) {
      for (int64_t i = 0; i < kLanes / 2; ++i) {
        const auto even = next(), odd = next();
        all[i] = interleaved_neighbours(Tag(), even, odd);
      }
      fold_neighbours(Tag(), all, kLanes / 2);
      const auto lanes = hn::BitCast(Tag(), larger_neighbours(Tag(), all[0], all[0]));
      return hn::PromoteTo(IntTag(), hn::LowerHalf(lanes));
    } else {
      for (int64_t i = 0; i < kLanes; ++i) all[i] = next();
      fold_neighbours(Tag(), all, kLanes);
      return all[0];
    }
  }

  // Lane by lane, of one group.
  template <class Measure>
  static HWY_INLINE hn::Vec<Tag> largest(const Bits* group, int64_t size, const Measure& measure) {
    auto most = measure(hn::LoadU(Tag(), group));
    for (int64_t at = kStep; at < size; at += kStep) {
      most = hn::Max(most, measure(hn::LoadU(Tag(), group + at)));
    }
    return most;
  }

  static HWY_INLINE void store(hn::Vec<IntTag> lanes, Bits* to) {
    if constexpr (sizeof(Bits) == 2) {
      hn::StoreU(hn::DemoteTo(hn::Rebind<int16_t, IntTag>(), lanes), hn::Rebind<int16_t, IntTag>(), to);
    } else {
      hn::StoreU(lanes, IntTag(), to);
    }
  }
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
