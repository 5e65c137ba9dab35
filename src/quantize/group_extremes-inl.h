// The extremes of many groups of elements side by side. Included once for each instruction set, as Highway
// wants it.
#if defined(LIVEWEIGHT_QUANTIZE_GROUP_EXTREMES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_GROUP_EXTREMES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_GROUP_EXTREMES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_GROUP_EXTREMES_INL_H_
#endif

#include <algorithm>

#include "quantize/extremes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

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

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
