// Rows of a live weight decoded to fp32 registers, to exactly what dequantize_row says. Included once for
// each instruction set.
#if defined(LIVEWEIGHT_INFER_ROW_DECODER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#undef LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#else
#define LIVEWEIGHT_INFER_ROW_DECODER_INL_H_
#endif

#include <algorithm>

#include "infer/code_loaders-inl.h"
#include "infer/weight_tile.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// One scale or zero point in every lane. Inline: a call would spill the sums.
HWY_INLINE FloatVector broadcast_factor(DType dtype, const std::byte* factors, int64_t index) {
  const FloatTag d;
  if (dtype == DType::kF32) return hn::Set(d, reinterpret_cast<const float*>(factors)[index]);
  if (dtype == DType::kI8)
    return hn::Set(d, static_cast<float>(reinterpret_cast<const int8_t*>(factors)[index]));
  const uint16_t bits = reinterpret_cast<const uint16_t*>(factors)[index];
  if (dtype == DType::kBF16)
    return hn::BitCast(d, hn::Set(CodeTag<uint32_t>(), static_cast<uint32_t>(bits) << 16));
  return hn::PromoteTo(d, hn::BitCast(CodeTag<hwy::float16_t>(), hn::Set(CodeTag<uint16_t>(), bits)));
}

// The scale and the zero point of one row over one span.
template <Scaling kScaling>
struct Factors {
  FloatVector scale;
  FloatVector zero;

  HWY_INLINE void load(const WeightTile& rows, int row, int64_t span, float code_factor) {
    if constexpr (kScaling == Scaling::kNone) return;
    scale = broadcast_factor(rows.scale_dtype, rows.scale[row], span);
    if (code_factor != 1) scale = hn::Mul(scale, hn::Set(FloatTag(), code_factor));
    if constexpr (kScaling == Scaling::kSymmetric) return;
    zero = broadcast_factor(rows.zero_dtype, rows.zero[row], span);
  }

  HWY_INLINE FloatVector apply(FloatVector code) const {
    if constexpr (kScaling == Scaling::kNone) return code;
    if constexpr (kScaling == Scaling::kSymmetric) return hn::Mul(code, scale);
    if constexpr (kScaling == Scaling::kIntegerZero) return hn::Mul(hn::Sub(code, zero), scale);
    return hn::Add(hn::Mul(code, scale), zero);
  }
};

// A row by its codes' loader: `enter` a span, then `decode` the columns inside it, kLanes at a time.
template <typename Load, Scaling kScaling>
class LoadedRow {
 public:
  static constexpr int64_t kBits = Load::kBits;

  HWY_INLINE void enter(const WeightTile& rows, int row, int64_t span) {
    factors_.load(rows, row, span, Load::kFactor);
  }
  HWY_INLINE FloatVector decode(const std::byte* row, int64_t col) const {
    return factors_.apply(Load::load(row, col));
  }

 private:
  Factors<kScaling> factors_;
};

#if HWY_TARGET <= HWY_AVX3_DL
// int4: the span's sixteen values in a register, picked by a permutation that looks at the low four bits of
// each lane. One instruction shifts every code of eight bytes to the bottom of its lane.
template <Scaling kScaling>
class Int4Row {
 public:
  static constexpr int64_t kBits = 4;

  HWY_INLINE void enter(const WeightTile& rows, int row, int64_t span) {
    const FloatTag d;
    Factors<kScaling> factors;
    factors.load(rows, row, span, 1);
    values_ = factors.apply(hn::Iota(d, -8.0f));
  }
  HWY_INLINE FloatVector decode(const std::byte* row, int64_t col) const {
    const hn::Repartition<uint64_t, FloatTag> d64;
    uint64_t codes;
    hwy::CopyBytes<8>(row + col / 2, &codes);
    // Where the code of a lane begins, by the lowest byte of the lane.
    const auto even = hn::ShiftLeft<3>(hn::Iota(d64, 0));
    const auto shifts = hn::Or(even, hn::ShiftLeft<32>(hn::Add(even, hn::Set(d64, 4))));
    const __m512i picked = _mm512_multishift_epi64_epi8(shifts.raw, hn::Set(d64, codes).raw);
    return FloatVector{_mm512_permutexvar_ps(picked, values_.raw)};
  }

 private:
  FloatVector values_;
};
#else
template <Scaling kScaling>
using Int4Row = LoadedRow<LoadI4, kScaling>;
#endif

// kLanes columns from `col` on that are cut by a span's edge or by the row's end; zeros behind the end.
HWY_INLINE FloatVector decode_edge(const WeightTile& rows, int row, int64_t col) {
  HWY_ALIGN float buffer[kLanes] = {};
  const int64_t count = std::min<int64_t>(kLanes, rows.cols - col);
  for (int64_t i = 0; i < count; ++i) buffer[i] = decode_element(rows, row, col + i);
  return hn::Load(FloatTag(), buffer);
}

// Walks the columns in steps of kLanes from 0, whatever the spans are: `enter(span)` before the steps inside
// a span, `step(col)` for those, `edge(col)` for steps that an edge cuts.
template <typename Enter, typename Step, typename Edge>
HWY_INLINE void walk_columns(const WeightTile& rows, const Enter& enter, const Step& step, const Edge& edge) {
  int64_t col = 0;
  int64_t span = 0;
  for (int64_t end = std::min(rows.first_span, rows.cols); col < rows.cols;
       end = std::min(end + rows.span, rows.cols)) {
    if (col + kLanes <= end) enter(span);
    for (; col + kLanes <= end; col += kLanes) step(col);
    if (col < end) {
      edge(col);
      col += kLanes;
    }
    ++span;
  }
}

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

template <Scaling kScaling>
using Int8Row = LoadedRow<LoadI8, kScaling>;

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

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
