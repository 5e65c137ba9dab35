// Symmetric int4 codes of groups of 16-bit elements, 32 bits a pair of them: the even element is shifted up
// and the odd one masked, so that both are floats where they lie, and their codes meet in the low byte.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_GROUP_CODES_INL_H_
#endif

#include "base/fetch.h"
#include "quantize/encode-inl.h"
#include "quantize/extremes-inl.h"
#include "quantize/unit_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Elements in the lower or upper halves of 32-bit lanes, to fp32 and kUnit times as large.
template <class S>
struct Halves;

template <>
struct Halves<BF16Source> {
  static constexpr float kLeastScale = 0, kUnit = 1;
  static HWY_INLINE FloatVector lower(WordVector bits) {
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(bits));
  }
  static HWY_INLINE FloatVector upper(WordVector bits) {
    return hn::BitCast(FloatTag(), hn::And(bits, hn::Set(WordTag(), 0xffff0000u)));
  }
};

// Exponents are placed below bits that fp16's never reach, where 112 more would make the number itself.
// Numbers below 2^-14 come out too large, but below 2^-14 as well: code 0 where scales are this large.
template <>
struct Halves<F16Source> {
  static constexpr float kLeastScale = 0x1p-12f, kUnit = 0x1p-16f;
  static HWY_INLINE FloatVector lower(WordVector bits) { return upper(hn::ShiftLeft<16>(bits)); }
  static HWY_INLINE FloatVector upper(WordVector bits) {
    const WordTag d;
    const auto shifted = hn::BitCast(d, hn::ShiftRight<3>(hn::BitCast(IntTag(), bits)));
    return hn::BitCast(FloatTag(), hn::OrAnd(hn::Set(d, 96u << 23), shifted, hn::Set(d, 0x8fffe000u)));
  }
};

// Goes through groups of `size` elements, kStep at a time, and fetches what lies `ahead` bytes behind each.
template <class Bits>
class GroupSteps {
 public:
  static constexpr int64_t kStep = 2 * kLanes;

  HWY_INLINE GroupSteps(const Bits* from, int64_t size, int64_t ahead)
      : from_(from), steps_(size / kStep), ahead_(ahead), left_(steps_) {}

  // What `take` makes of the next ones and the number of their group.
  template <class Take>
  HWY_INLINE auto next(const Take& take) {
    fetch_lines(reinterpret_cast<const char*>(from_) + ahead_, 1, second_level_);
    const auto taken = take(from_, group_);
    from_ += kStep;
    if (--left_ == 0) ++group_, left_ = steps_;
    return taken;
  }

 private:
  const Bits* from_;
  const int64_t steps_, ahead_;
  const bool second_level_ = kFetchesIntoSecondLevel;
  int64_t group_ = 0, left_;
};

// Encoding::kDivideRounded without zero points: the quotient is rounded to the source's dtype, then to an
// integer, both times to nearest even.
template <class S>
class GroupCodes {
 public:
  using Bits = typename S::Bits;

  static HWY_INLINE bool suits(const UnitBatch& batch, int64_t groups) {
    if (Halves<S>::kLeastScale == 0) return true;
    const FloatTag d;
    auto least = hn::Set(d, Halves<S>::kLeastScale);
    for (int64_t i = 0; i < groups; i += kLanes) {
      const auto used = hn::FirstN(d, static_cast<size_t>(groups - i));
      least = hn::Min(least, hn::IfThenElse(used, hn::Load(d, batch.scale + i), least));
    }
    return hn::AllTrue(d, hn::Eq(least, hn::Set(d, Halves<S>::kLeastScale)));
  }

  // Of up to kBatch units.
  HWY_INLINE GroupCodes(const UnitBatch& batch, int64_t groups) {
    const FloatTag d;
    for (int64_t i = 0; i < groups; i += kLanes) {
      const FloatVector scale = hn::Load(d, batch.scale + i);
      const auto bits = hn::BitCast(WordTag(), S::bits_of(S::rounded(hn::Mul(scale, hn::Set(d, 7.0f)))));
      hn::Store(hn::Or(bits, hn::ShiftLeft<16>(bits)), WordTag(), seven_ + i);
      const FloatVector unit = hn::Set(d, 1 / Halves<S>::kUnit);
      const FloatVector reciprocal = hn::Load(d, batch.reciprocal + i);
      const FloatVector rest = hn::Mul(hn::NegMulAdd(scale, reciprocal, hn::Set(d, 1.0f)), reciprocal);
      hn::Store(hn::Mul(reciprocal, unit), d, reciprocal_ + i);
      hn::Store(hn::Mul(rest, unit), d, rest_ + i);
    }
  }

  // All elements, `size` a group. Four vectors of codes leave together, past the caches where `stream` says
  // so: one that is loaded from several stores would wait until all stores before it have left.
  HWY_INLINE void encode(const Bits* from, int64_t groups, int64_t size, uint8_t* to, bool stream,
                         int64_t ahead) const {
    const int64_t all = groups * (size / GroupSteps<Bits>::kStep);
    GroupSteps<Bits> steps(from, size, ahead);
    const auto take = [&](const Bits* at, int64_t group) HWY_ATTR { return pairs(at, group); };
    const auto next = [&]() HWY_ATTR { return steps.next(take); };
    int64_t step = 0;
    for (; step + 4 <= all; step += 4, to += 4 * kLanes) {
      const auto a = next(), b = next(), c = next(), d = next();
      store_bytes(low_bytes(a, b, c, d), ByteTag(), to, stream);
    }
    for (; step < all; ++step, to += kLanes) {
      hn::StoreU(low_bytes(WordTag(), next()), hn::Rebind<uint8_t, WordTag>(), to);
    }
  }

 private:
  using Tag = BitsTag<S>;
  static constexpr bool kLong = S::kMantissaBits > 7;
  static constexpr int kBelow = 23 - S::kMantissaBits;  // bits of fp32 that the dtype lacks

  // Two codes plus 8 in the low byte of each lane.
  HWY_INLINE WordVector pairs(const Bits* from, int64_t group) const {
    const WordTag d;
    // Codes end at 7, and what is nearer to 8 is not needed.
    const auto most = hn::BitCast(Tag(), hn::Set(d, seven_[group]));
    const auto bits = hn::BitCast(d, hn::Min(hn::LoadU(Tag(), from), most));
    const auto even = code(Halves<S>::lower(bits), group), odd = code(Halves<S>::upper(bits), group);
    return hn::Or(even, hn::ShiftLeft<4>(odd));
  }

  // Half up is to nearest even: no quotient of two such numbers lies half-way between two. Of eight bits none
  // is so near to half-way that a product with the reciprocal is not as good; of eleven bits one with all of
  // the reciprocal is, and what fp32 does not hold of it.
  HWY_INLINE WordVector code(FloatVector x, int64_t group) const {
    const WordTag d;
    const FloatVector reciprocal = hn::Set(FloatTag(), reciprocal_[group]);
    const FloatVector q = kLong ? hn::MulAdd(x, reciprocal, hn::Mul(x, hn::Set(FloatTag(), rest_[group])))
                                : hn::Mul(x, reciprocal);
    const auto sum = hn::Add(hn::BitCast(d, q), hn::Set(d, 1u << (kBelow - 1)));
    const auto rounded = hn::And(sum, hn::Set(d, ~uint32_t{0} << kBelow));
    return hn::BitCast(d, hn::Add(hn::BitCast(FloatTag(), rounded), hn::Set(FloatTag(), 0x1.8p23f + 8)));
  }

  HWY_ALIGN uint32_t seven_[kBatch];  // seven times the scale, twice
  // For kUnit times the elements, and what it lacks.
  HWY_ALIGN float reciprocal_[kBatch], rest_[kBatch];
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
