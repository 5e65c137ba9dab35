// Products of few tokens with rows of int4 as they lie in the slot, by VNNI: nothing is packed, so that
// memory is the limit. Included once for each instruction set.
//
// A vector of a row holds 128 columns, two a byte. Multiplied, lane l of it has the sum of columns 8 l to 8 l
// + 7, so that a block of four lanes has a segment of 32 columns. Those of sixteen rows are added up and
// turned around until a row is a lane, as in a panel, and a group is whole segments.
#if defined(LIVEWEIGHT_INFER_GROUP_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_GROUP_ROWS_INL_H_
#undef LIVEWEIGHT_INFER_GROUP_ROWS_INL_H_
#else
#define LIVEWEIGHT_INFER_GROUP_ROWS_INL_H_
#endif

#include "infer/group_kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
inline constexpr int64_t kSegment = 32;
inline constexpr int64_t kSegments = 4;  // of a vector
inline constexpr int64_t kVectorCols = kSegments * kSegment;

HWY_INLINE bool takes_rows(const KernelFormat& format, const IntegerRows& x) {
  return x.vnni && format.cols % kVectorCols == 0 && format.scheme.size % kSegment == 0;
}

// Block b of quads[q] becomes block q of segments[b].
HWY_INLINE void transpose_blocks(const SumVector* quads, SumVector* segments) {
  const auto even = [](SumVector a, SumVector b)
                        HWY_ATTR { return SumVector{_mm512_shuffle_i32x4(a.raw, b.raw, 0x88)}; };
  const auto odd = [](SumVector a, SumVector b)
                       HWY_ATTR { return SumVector{_mm512_shuffle_i32x4(a.raw, b.raw, 0xdd)}; };
  const auto even_01 = even(quads[0], quads[1]), odd_01 = odd(quads[0], quads[1]);
  const auto even_23 = even(quads[2], quads[3]), odd_23 = odd(quads[2], quads[3]);
  segments[0] = even(even_01, even_23);
  segments[1] = even(odd_01, odd_23);
  segments[2] = odd(even_01, even_23);
  segments[3] = odd(odd_01, odd_23);
}

// Sixteen rows of a vector each with the codes of kTokens tokens: segments[t][s], a row a lane.
template <int kTokens>
HWY_INLINE void multiply_segments(const std::byte* const* rows, int64_t at, const int8_t* const* even,
                                  int64_t odd, SumVector (*segments)[kSegments]) {
  const VnniProducts::CodeTag d;
  const hn::Repartition<uint16_t, SumTag> d16;
  const auto low = hn::Set(d, 0x0f);
  SumVector quads[kTokens][4];
  for (int q = 0; q < 4; ++q) {
    VnniProducts::Sum sums[kTokens][4];
    for (int r = 0; r < 4; ++r) {
      const std::byte* line = rows[4 * q + r] + at;
      fetch_lines(line + kVectorCols / 2, 1, false);  // sixteen rows are more than the processor foresees
      const auto pairs = VnniProducts::load(reinterpret_cast<const int8_t*>(line));
      const auto first = hn::And(pairs, low);
      const auto second = hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(d16, pairs))), low);
      for (int t = 0; t < kTokens; ++t) {
        sums[t][r] = VnniProducts::sum_from(hn::Zero(SumTag()));
        VnniProducts::add(first, VnniProducts::load(even[t] + at), sums[t][r]);
        VnniProducts::add(second, VnniProducts::load(even[t] + odd + at), sums[t][r]);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      SumVector totals[4];
      for (int r = 0; r < 4; ++r) totals[r] = VnniProducts::total_of(sums[t][r]);
      quads[t][q] = add_block_lanes(totals);
    }
  }
  for (int t = 0; t < kTokens; ++t) transpose_blocks(quads[t], segments[t]);
}

template <int kTokens>
HWY_INLINE void multiply_rows(const SlotGroups& from, const std::byte* scales, const IntegerRows& x,
                              int64_t token, float* out) {
  const int64_t cols = from.format.cols, group = from.format.scheme.size;
  const int8_t* even[kTokens];
  const int32_t* zeros[kTokens];
  FloatVector products[kTokens];
  SumVector sums[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    even[t] = x.split + (token + t) * x.stride;
    zeros[t] = x.group_zeros + (token + t) * (x.stride / kGroupStep);
    products[t] = hn::Zero(FloatTag());
    sums[t] = hn::Zero(SumTag());
  }
  int64_t g = 0, left = std::min(group, cols);
  for (int64_t col = 0; col < cols; col += kVectorCols) {
    from.fetch_next(kGroupRows * col / 2, kGroupRows * kVectorCols / 2);
    SumVector segments[kTokens][kSegments];
    multiply_segments<kTokens>(from.rows, col / 2, even, x.stride / 2, segments);
    for (int64_t s = 0; s < kSegments; ++s) {
      for (int t = 0; t < kTokens; ++t) sums[t] = hn::Add(sums[t], segments[t][s]);
      left -= kSegment;
      if (left > 0) continue;
      const auto scale = hn::Load(FloatTag(), reinterpret_cast<const float*>(scales) + g * kGroupRows);
      for (int t = 0; t < kTokens; ++t) {
        const auto sum = hn::ConvertTo(FloatTag(), hn::Add(sums[t], hn::Set(SumTag(), zeros[t][g])));
        products[t] = hn::Add(products[t], hn::Mul(sum, scale));
        sums[t] = hn::Zero(SumTag());
      }
      ++g;
      left = std::min(group, cols - g * group);
    }
  }
  for (int t = 0; t < kTokens; ++t) hn::StoreU(products[t], FloatTag(), out + t * kGroupRows);
}

HWY_INLINE void multiply_slot_groups(const SlotGroups& from, const IntegerRows& x, int tokens,
                                     std::byte* scales, float* out) {
  pack_scales(from.tiles, from.groups(), scales);
  from.fetch_next_scales();
  for_token_counts<4>(0, tokens, [&](auto count, int token) HWY_ATTR {
    multiply_rows<count>(from, scales, x, token, out + token * kGroupRows);
  });
}
#else
HWY_INLINE bool takes_rows(const KernelFormat&, const IntegerRows&) {
  return false;
}
HWY_INLINE void multiply_slot_groups(const SlotGroups&, const IntegerRows&, int, std::byte*, float*) {}
#endif

void multiply_group_rows_on(const WeightView& weight, int64_t row, const IntegerRows& x, int tokens,
                            std::byte* panel, float* out) {
  const SlotGroups from(weight, row);
  if (takes_rows(from.format, x)) return multiply_slot_groups(from, x, tokens, panel, out);
  pack_groups(from, panel);
  multiply_group_panel_on(panel, from.format.cols, from.format.scheme.size, x, 0, tokens, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
