// int4 codes of groups of bf16 elements with an offset, two elements in 32 bits as in group_codes-inl.h.
// Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_OFFSET_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_OFFSET_CODES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_OFFSET_CODES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_OFFSET_CODES_INL_H_
#endif

#include <algorithm>

#include "quantize/group_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Encoding::kOffsetDivide: one multiplication and addition, fused on every instruction set that has this,
// makes 48.5 + (element - offset) / scale, whose bits hold the code and 18 more of the quotient. Those are
// off by less than one and a half, and what the definition rounds by less than a half; so nothing is left to
// find out but of quotients as near as that to the middle between two codes, which are computed as the
// definition says.
class OffsetCodes {
 public:
  // Of up to kBatch units.
  HWY_INLINE OffsetCodes(const UnitBatch& batch, int64_t groups) : batch_(batch) {
    const FloatTag d;
    const auto begin = hn::Set(d, 48.5f + kNear / 2 * 0x1p-18f);
    for (int64_t i = 0; i < groups; i += kLanes) {
      const FloatVector reciprocal = hn::Load(d, batch.reciprocal + i);
      const FloatVector start = hn::NegMulAdd(hn::Load(d, batch.offset + i), reciprocal, begin);
      hn::Store(start, d, start_ + i);
      const auto known = hn::And(hn::Ge(start, hn::Set(d, 32.0f)), hn::Lt(start, hn::Set(d, 64.0f)));
      const auto padding = hn::Not(hn::FirstN(d, static_cast<size_t>(groups - i)));
      suits_ &= hn::AllTrue(d, hn::Or(padding, known));
    }
  }

  // Whether sums are from 32 to 64: groups with elements of either sign, and most others.
  bool suits() const { return suits_; }

  // As GroupCodes::encode does.
  HWY_INLINE void encode(const int16_t* from, int64_t groups, int64_t size, uint8_t* to, bool stream,
                         int64_t ahead) const {
    const int64_t all = groups * (size / GroupSteps<int16_t>::kStep);
    GroupSteps<int16_t> steps(from, size, ahead);
    const auto take = [&](const int16_t* at, int64_t group) HWY_ATTR {
      return Pairs{at, group, sums(at, group)};
    };
    const auto next = [&]() HWY_ATTR { return steps.next(take); };
    int64_t step = 0;
    for (; step + 4 <= all; step += 4, to += 4 * kLanes) {
      const Pairs a = next(), b = next(), c = next(), d = next();
      const bool known = are_known(hn::Min(hn::Min(nearest(a), nearest(b)), hn::Min(nearest(c), nearest(d))));
      const auto bytes = HWY_LIKELY(known) ? low_bytes(codes(a), codes(b), codes(c), codes(d))
                                           : low_bytes(checked(a), checked(b), checked(c), checked(d));
      store_bytes(bytes, ByteTag(), to, stream);
    }
    for (; step < all; ++step, to += kLanes) {
      hn::StoreU(low_bytes(WordTag(), checked(next())), hn::Rebind<uint8_t, WordTag>(), to);
    }
  }

 private:
  static constexpr int32_t kNear = 4;  // of 2^18 from code to code, to both sides of a middle together

  struct Sums {
    WordVector even, odd;
  };
  struct Pairs {
    const int16_t* from;
    int64_t group;
    Sums sums;
  };

  static HWY_INLINE bool are_known(WordVector nearest) {
    return hn::AllTrue(IntTag(), hn::Gt(hn::BitCast(IntTag(), nearest), hn::Set(IntTag(), kNear - 1)));
  }

  // How far above the last middle.
  static HWY_INLINE WordVector nearest(const Pairs& pairs) {
    const auto rest = hn::Set(WordTag(), 0x3ffffu);
    return hn::Min(hn::And(pairs.sums.even, rest), hn::And(pairs.sums.odd, rest));
  }

  // Two in the low byte of each lane.
  static HWY_INLINE WordVector codes(const Pairs& pairs) {
    const WordTag d;
    const auto low = hn::And(hn::ShiftRight<18>(pairs.sums.even), hn::Set(d, 0xfu));
    return hn::OrAnd(low, hn::ShiftRight<14>(pairs.sums.odd), hn::Set(d, 0xf0u));
  }

  HWY_INLINE WordVector checked(const Pairs& pairs) const {
    if (are_known(nearest(pairs))) return codes(pairs);
    const auto bits = hn::BitCast(WordTag(), hn::LoadU(BitsTag<BF16Source>(), pairs.from));
    const auto even = exact(Halves<BF16Source>::lower(bits), pairs.group),
               odd = exact(Halves<BF16Source>::upper(bits), pairs.group);
    return hn::Or(hn::And(even, hn::Set(WordTag(), 0xfu)), hn::ShiftLeft<4>(odd));
  }

  // As the definition says, in the low bits.
  HWY_INLINE WordVector exact(FloatVector x, int64_t group) const {
    const FloatTag d;
    const auto above = hn::Sub(x, hn::Set(d, batch_.offset[group]));
    const auto q = quotient<2>(above, hn::Set(d, batch_.factor[group]), hn::Set(d, batch_.reciprocal[group]));
    const auto clamped = hn::Min(hn::Max(q, hn::Zero(d)), hn::Set(d, 15.0f));
    return hn::BitCast(WordTag(), hn::Add(clamped, hn::Set(d, kRounding)));
  }

  HWY_INLINE Sums sums(const int16_t* from, int64_t group) const {
    const auto bits = hn::BitCast(WordTag(), hn::LoadU(BitsTag<BF16Source>(), from));
    return {sum(Halves<BF16Source>::lower(bits), group), sum(Halves<BF16Source>::upper(bits), group)};
  }

  HWY_INLINE WordVector sum(FloatVector x, int64_t group) const {
    const FloatTag d;
    const auto reciprocal = hn::Set(d, batch_.reciprocal[group]), start = hn::Set(d, start_[group]);
    return hn::BitCast(WordTag(), hn::MulAdd(x, reciprocal, start));
  }

  const UnitBatch& batch_;
  HWY_ALIGN float start_[kBatch];
  bool suits_ = true;
};

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
