// Rows of a live weight decoded to fp32 registers, to exactly what dequantize_row says. Included once for
// each instruction set.
#if defined(LIVEWEIGHT_INFER_ROW_DECODER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#undef LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#else
#define LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#endif

#include <algorithm>

#include "base/fetch.h"
#include "infer/code_loaders-inl.h"
#include "infer/factors-inl.h"
#include "infer/weight_tile.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// A row by its codes' loader: `enter` a span, then `decode` the columns inside it, kLanes at a time. They may
// come in an order of the decoder's own: `arrange` puts other columns into it, `in_order` any lanes back.
template <typename Load, Scaling kScalingOf>
class LoadedRow {
 public:
  static constexpr int64_t kBits = Load::kBits;
  static constexpr float kFactor = Load::kFactor;
  static constexpr Scaling kScaling = kScalingOf;

  HWY_INLINE void enter(const Factors<kScaling>& factors) {
    factors_ = factors;
    factors_.widen(kFactor);
  }
  HWY_INLINE FloatVector decode(const std::byte* row, int64_t col) const {
    return factors_.apply(Load::load(row, col));
  }
  static HWY_INLINE FloatVector arrange(FloatVector columns) { return columns; }
  static HWY_INLINE FloatVector in_order(FloatVector lanes) { return lanes; }

 private:
  Factors<kScaling> factors_;
};

#if HWY_TARGET <= HWY_AVX3
// int4: the span's sixteen values in a register, picked by a permutation that looks at the low four bits of
// each lane. Eight bytes in all lanes of 64 bits and one shift bring the codes there: column i to lane 2 i,
// column 8 + i to the one behind it.
template <Scaling kScalingOf>
class Int4Row {
 public:
  static constexpr int64_t kBits = 4;
  static constexpr float kFactor = 1;
  static constexpr Scaling kScaling = kScalingOf;

  HWY_INLINE void enter(const Factors<kScaling>& factors) {
    values_ = factors.apply(hn::Iota(FloatTag(), -8.0f));
  }
  HWY_INLINE FloatVector decode(const std::byte* row, int64_t col) const {
    const LaneTag d;
    uint64_t codes;
    hwy::CopyBytes<8>(row + (col >> 1), &codes);
    const auto all = hn::BitCast(d, hn::Set(hn::Repartition<uint64_t, LaneTag>(), codes));
    const auto spread = hn::Shr(all, hn::ShiftLeft<2>(hn::ShiftRight<1>(hn::Iota(d, 0))));
    return FloatVector{_mm512_permutexvar_ps(spread.raw, values_.raw)};
  }
  static HWY_INLINE FloatVector arrange(FloatVector columns) {
    const auto lane = hn::Iota(LaneTag(), 0);
    const auto odd = hn::And(lane, hn::Set(LaneTag(), 1));
    return pick(columns, hn::Add(hn::ShiftRight<1>(lane), hn::ShiftLeft<3>(odd)));
  }
  static HWY_INLINE FloatVector in_order(FloatVector lanes) {
    const auto col = hn::Iota(LaneTag(), 0);
    return pick(lanes,
                hn::Add(hn::ShiftLeft<1>(hn::And(col, hn::Set(LaneTag(), 7))), hn::ShiftRight<3>(col)));
  }

 private:
  using LaneTag = hn::Rebind<uint32_t, FloatTag>;

  static HWY_INLINE FloatVector pick(FloatVector from, hn::Vec<LaneTag> lanes) {
    return FloatVector{_mm512_permutexvar_ps(lanes.raw, from.raw)};
  }

  FloatVector values_;
};
#else
template <Scaling kScaling>
using Int4Row = LoadedRow<LoadI4, kScaling>;
#endif

template <Scaling kScaling>
using Int8Row = LoadedRow<LoadI8, kScaling>;

// Calls visitor.visit<Decoder>() with the decoder of the tile's rows.
template <template <Scaling> typename Decoder, typename Visitor>
void with_zero_points(Scaling scaling, const Visitor& visitor) {
  switch (scaling) {
    case Scaling::kIntegerZero:
      return visitor.template visit<Decoder<Scaling::kIntegerZero>>();
    case Scaling::kFloatingZero:
      return visitor.template visit<Decoder<Scaling::kFloatingZero>>();
    default:
      return visitor.template visit<Decoder<Scaling::kSymmetric>>();
  }
}

template <typename Visitor>
void with_decoder(const WeightTile& rows, const Visitor& visitor) {
  switch (rows.code) {
    case Code::kF32:
      return visitor.template visit<LoadedRow<LoadF32, Scaling::kNone>>();
    case Code::kF16:
      return visitor.template visit<LoadedRow<LoadF16, Scaling::kNone>>();
    case Code::kBF16:
      return visitor.template visit<LoadedRow<LoadBF16, Scaling::kNone>>();
    case Code::kE4M3:
      return visitor.template visit<LoadedRow<LoadE4M3, Scaling::kSymmetric>>();
    case Code::kI8:
      return with_zero_points<Int8Row>(rows.scaling, visitor);
    case Code::kI4:
      return with_zero_points<Int4Row>(rows.scaling, visitor);
  }
}

// kLanes columns from `col` on, by the scalar codecs; zeros behind the row's end.
HWY_INLINE FloatVector decode_edge(const WeightTile& rows, int row, int64_t col) {
  HWY_ALIGN float buffer[kLanes] = {};
  const int64_t count = std::min<int64_t>(kLanes, rows.cols - col);
  for (int64_t i = 0; i < count; ++i) buffer[i] = decode_element(rows, row, col + i);
  return hn::Load(FloatTag(), buffer);
}

// Whether steps of kLanes columns never cross from span to span.
HWY_INLINE bool spans_hold_steps(const WeightTile& rows) {
  return rows.first_span >= rows.cols || (rows.first_span % kLanes == 0 && rows.span % kLanes == 0);
}

// Decodes kRows rows from `first` on side by side and calls use(col, weights) for every whole kLanes columns,
// in the decoder's order, while what lies ahead is fetched: the rows of a matrix follow one another in
// memory. Nothing in the loops is a call, which would spill what `use` keeps in registers. Returns the first
// column that is left to decode_edge.
template <typename Decoder, int kRows, typename Use>
HWY_INLINE int64_t walk_rows(const WeightTile& rows, int first, const Use& use) {
  constexpr int64_t kStepBytes = kRows * kLanes * Decoder::kBits / 8;
  // Of int4's usual groups; entering a short loop takes as long as a step of it.
  constexpr int64_t kGroupSteps = Decoder::kBits == 4 && kLanes >= 8 ? 32 / kLanes : 0;
  const int64_t whole = spans_hold_steps(rows) ? rows.cols / kLanes * kLanes : 0;
  const std::byte* ahead = rows.data[first] + rows.prefetch_bytes;
  const bool second_level = kFetchesIntoSecondLevel;
  SpanFactors<Decoder::kScaling, kRows> factors;
  int64_t col = 0;
  int64_t span_end = rows.first_span;
  for (int64_t span = 0; col < whole; ++span, span_end += rows.span) {
    const int64_t index = span % kSpansTogether;
    if (index == 0) factors.load(rows, first, span);
    if constexpr (Decoder::kFactor != 1) {
      if (index == 0 && !factors.can_widen(rows, span, Decoder::kFactor)) break;
    }
    Decoder decoders[kRows];
    for (int r = 0; r < kRows; ++r) decoders[r].enter(factors.of(r, index));
    const auto step = [&](int64_t at) HWY_ATTR {
      fetch_lines(ahead, kStepBytes, second_level);
      ahead += kStepBytes;
      FloatVector weights[kRows];
      for (int r = 0; r < kRows; ++r) weights[r] = decoders[r].decode(rows.data[first + r], at);
      use(at, weights);
    };
    const int64_t end = std::min(span_end, whole);
    if (kGroupSteps > 0 && end - col == kGroupSteps * kLanes) {
      for (int64_t i = 0; i < kGroupSteps; ++i) step(col + i * kLanes);
      col = end;
    }
    for (; col < end; col += kLanes) step(col);
  }
  return col;
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
