// The loops behind linear_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#endif

#include <algorithm>

#include "infer/code_loaders-inl.h"
#include "infer/linear_kernels.h"

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

template <typename Load, Scaling kScaling, int kTokens>
void dot_rows(const WeightTile& rows, const float* const* x, float* out) {
  const FloatTag d;
  FloatVector sum[kTileRows][kTokens];
  for (auto& row : sum) {
    for (FloatVector& value : row) value = hn::Zero(d);
  }
  Factors<kScaling> factors[kTileRows];
  walk_columns(
      rows,
      [&](int64_t span) HWY_ATTR {
        for (int r = 0; r < kTileRows; ++r) factors[r].load(rows, r, span, Load::kFactor);
      },
      [&](int64_t col) HWY_ATTR {
        FloatVector activation[kTokens];
        for (int t = 0; t < kTokens; ++t) activation[t] = hn::LoadU(d, x[t] + col);
        for (int r = 0; r < kTileRows; ++r) {
          const FloatVector weight = factors[r].apply(Load::load(rows.data[r], col));
          for (int t = 0; t < kTokens; ++t) sum[r][t] = hn::MulAdd(weight, activation[t], sum[r][t]);
        }
      },
      [&](int64_t col) HWY_ATTR {
        const int64_t count = std::min<int64_t>(kLanes, rows.cols - col);
        FloatVector activation[kTokens];
        for (int t = 0; t < kTokens; ++t) activation[t] = load_first(x[t] + col, count);
        for (int r = 0; r < kTileRows; ++r) {
          const FloatVector weight = decode_edge(rows, r, col);
          for (int t = 0; t < kTokens; ++t) sum[r][t] = hn::MulAdd(weight, activation[t], sum[r][t]);
        }
      });
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) out[t * kTileRows + r] = sum_lanes(sum[r][t]);
  }
}

template <typename Load, Scaling kScaling>
void decode_columns(const WeightTile& rows, int index, float* out) {
  Factors<kScaling> factors;
  walk_columns(
      rows, [&](int64_t span) HWY_ATTR { factors.load(rows, index, span, Load::kFactor); },
      [&](int64_t col)
          HWY_ATTR { hn::StoreU(factors.apply(Load::load(rows.data[index], col)), FloatTag(), out + col); },
      [&](int64_t col) HWY_ATTR {
        store_first(decode_edge(rows, index, col), out + col, std::min<int64_t>(kLanes, rows.cols - col));
      });
}

// Calls visitor.visit<Load, kScaling>() with the loader and the scaling of the tile.
template <typename Load, typename Visitor>
void with_zero_points(Scaling scaling, const Visitor& visitor) {
  switch (scaling) {
    case Scaling::kIntegerZero:
      return visitor.template visit<Load, Scaling::kIntegerZero>();
    case Scaling::kFloatingZero:
      return visitor.template visit<Load, Scaling::kFloatingZero>();
    default:
      return visitor.template visit<Load, Scaling::kSymmetric>();
  }
}

template <typename Visitor>
void with_loader(const WeightTile& rows, const Visitor& visitor) {
  switch (rows.code) {
    case Code::kF32:
      return visitor.template visit<LoadF32, Scaling::kNone>();
    case Code::kF16:
      return visitor.template visit<LoadF16, Scaling::kNone>();
    case Code::kBF16:
      return visitor.template visit<LoadBF16, Scaling::kNone>();
    case Code::kE4M3:
      return visitor.template visit<LoadE4M3, Scaling::kSymmetric>();
    case Code::kI8:
      return with_zero_points<LoadI8>(rows.scaling, visitor);
    case Code::kI4:
      return with_zero_points<LoadI4>(rows.scaling, visitor);
  }
}

template <int kTokens>
struct DotVisitor {
  const WeightTile& rows;
  const float* const* x;
  float* out;
  template <typename Load, Scaling kScaling>
  void visit() const {
    dot_rows<Load, kScaling, kTokens>(rows, x, out);
  }
};

struct DecodeVisitor {
  const WeightTile& rows;
  int index;
  float* out;
  template <typename Load, Scaling kScaling>
  void visit() const {
    decode_columns<Load, kScaling>(rows, index, out);
  }
};

void dot_tile_on(const WeightTile& rows, const float* const* x, int tokens, float* out) {
  if (tokens == 1) return with_loader(rows, DotVisitor<1>{rows, x, out});
  if (tokens == 2) return with_loader(rows, DotVisitor<2>{rows, x, out});
  const float* padded[kTileTokens] = {x[0], x[1], x[2], x[tokens - 1]};
  float all[kTileTokens * kTileRows];
  with_loader(rows, DotVisitor<kTileTokens>{rows, padded, all});
  std::copy_n(all, tokens * kTileRows, out);
}

void decode_row_on(const WeightTile& rows, int index, float* out) {
  with_loader(rows, DecodeVisitor{rows, index, out});
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
