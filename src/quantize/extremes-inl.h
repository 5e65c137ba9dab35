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

// The larger of two neighbours among 32-bit lanes, those of `low`, then those of `high`, by the order of `d`.
template <class D>
HWY_INLINE hn::Vec<D> larger_neighbours(D d, hn::Vec<D> low, hn::Vec<D> high) {
  const WordTag words;
  const auto first = hn::BitCast(words, low), second = hn::BitCast(words, high);
  const auto even = hn::ConcatEven(words, second, first), odd = hn::ConcatOdd(words, second, first);
  return hn::Max(hn::BitCast(d, even), hn::BitCast(d, odd));
}

// What is looked for among the elements of a group: lanes of it (`of` a vector of elements), the larger of
// two lane by lane, and of neighbours.
template <class S>
struct LargestOfGroup {
  using Tag = BitsTag<S>;
  hn::Vec<Tag> magnitude;

  static HWY_INLINE LargestOfGroup of(hn::Vec<Tag> bits) {
    return {hn::And(bits, hn::Set(Tag(), kMagnitude<S>))};
  }
  static HWY_INLINE LargestOfGroup larger(LargestOfGroup a, LargestOfGroup b) {
    return {hn::Max(a.magnitude, b.magnitude)};
  }
  static HWY_INLINE LargestOfGroup neighbours(LargestOfGroup low, LargestOfGroup high) {
    return {larger_neighbours(Tag(), low.magnitude, high.magnitude)};
  }
};

// Of groups with elements of either sign, which most are, the largest is the largest of their bits as signed
// integers, and the smallest as unsigned ones.
template <class S>
struct RangeOfGroup {
  using Tag = BitsTag<S>;
  using Unsigned = hn::RebindToUnsigned<Tag>;
  hn::Vec<Tag> high;
  hn::Vec<Unsigned> low;

  static HWY_INLINE RangeOfGroup of(hn::Vec<Tag> bits) { return {bits, hn::BitCast(Unsigned(), bits)}; }
  static HWY_INLINE RangeOfGroup larger(RangeOfGroup a, RangeOfGroup b) {
    return {hn::Max(a.high, b.high), hn::Max(a.low, b.low)};
  }
  static HWY_INLINE RangeOfGroup neighbours(RangeOfGroup low, RangeOfGroup high) {
    return {larger_neighbours(Tag(), low.high, high.high), larger_neighbours(Unsigned(), low.low, high.low)};
  }
};

// Of any groups: by keys, whose order is the elements'.
template <class S>
struct RangeByKeys {
  using Tag = BitsTag<S>;
  hn::Vec<Tag> high, low;

  static HWY_INLINE RangeByKeys of(hn::Vec<Tag> bits) {
    const auto key = key_of(Tag(), bits);
    return {key, hn::Not(key)};
  }
  static HWY_INLINE RangeByKeys larger(RangeByKeys a, RangeByKeys b) {
    return {hn::Max(a.high, b.high), hn::Max(a.low, b.low)};
  }
  static HWY_INLINE RangeByKeys neighbours(RangeByKeys low, RangeByKeys high) {
    return {larger_neighbours(Tag(), low.high, high.high), larger_neighbours(Tag(), low.low, high.low)};
  }

  // Bits where positive, else all but the sign inverted. Its own inverse.
  template <class D>
  static HWY_INLINE hn::Vec<D> key_of(D d, hn::Vec<D> bits) {
    return hn::Xor(bits, hn::And(hn::Set(d, kMagnitude<S>), hn::BroadcastSignBit(bits)));
  }
};

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
    auto all = hn::Zero(IntTag());
    for (int64_t i = 0; i < count; i += kLanes) {
      const auto found = lanes_of<LargestOfGroup<S>>(from + i * size, std::min(kLanes, count - i), size);
      const auto lanes = folded(Tag(), found.magnitude);
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

  struct Extremes {
    hn::Vec<IntTag> high, low;
  };

  static HWY_INLINE Extremes range(const Bits* from, int64_t groups, int64_t size) {
    const auto found = lanes_of<RangeOfGroup<S>>(from, groups, size);
    const auto high = folded(Tag(), found.high), low = folded(hn::RebindToUnsigned<Tag>(), found.low);
    const auto either = hn::AndNot(high, low);
    if (HWY_UNLIKELY(!hn::AllTrue(IntTag(), hn::Lt(either, hn::Zero(IntTag()))))) {
      return range_by_keys(from, groups, size);
    }
    return {high, low};
  }

  static HWY_NOINLINE Extremes range_by_keys(const Bits* from, int64_t groups, int64_t size) {
    using Keys = RangeByKeys<S>;
    const Keys found = lanes_of<Keys>(from, groups, size);
    const auto high = folded(Tag(), found.high), low = hn::Not(folded(Tag(), found.low));
    return {Keys::key_of(IntTag(), high), Keys::key_of(IntTag(), low)};
  }

  // What is found in each of up to kLanes groups, in its 32-bit lane; lanes past them repeat the last.
  template <class Found>
  static HWY_INLINE Found lanes_of(const Bits* from, int64_t groups, int64_t size) {
    if (groups == kLanes && size == kStep) return tree<Found, kLanes>(from, 0, kLanes, kStep);
    return tree<Found, kLanes>(from, 0, groups, size);
  }

  // Of groups [first, first + n), each in as many lanes as there is room for.
  template <class Found, int64_t n>
  static HWY_INLINE Found tree(const Bits* from, int64_t first, int64_t groups, int64_t size) {
    if constexpr (n == 1) {
      return of_group<Found>(from + std::min(first, groups - 1) * size, size);
    } else {
      return Found::neighbours(tree<Found, n / 2>(from, first, groups, size),
                               tree<Found, n / 2>(from, first + n / 2, groups, size));
    }
  }

  template <class Found>
  static HWY_INLINE Found of_group(const Bits* group, int64_t size) {
    Found found = Found::of(hn::LoadU(Tag(), group));
    for (int64_t at = kStep; at < size; at += kStep) {
      found = Found::larger(found, Found::of(hn::LoadU(Tag(), group + at)));
    }
    return found;
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
