// The loops behind integer_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#endif

#include <hwy/cache_control.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "infer/integer_kernels.h"
#include "infer/integer_products-inl.h"
#include "infer/simd-inl.h"

LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS();
namespace liveweight {
namespace HWY_NAMESPACE {

// Columns of one step.
inline constexpr int64_t kStep = hn::MaxLanes(CodeTag8());

// Rows as they lie in the slot; what lies ahead is fetched, as the rows of a matrix follow one another.
class SlotRows {
 public:
  static constexpr bool kHasEdge = true;
  SlotRows(const WeightTile& tile, int first)
      : cols_(tile.cols), ahead_(tile.data[first] + tile.prefetch_bytes) {
    for (int r = 0; r < kIntegerRows; ++r) rows_[r] = reinterpret_cast<const int8_t*>(tile.data[first + r]);
  }
  HWY_INLINE int64_t whole_cols() const { return cols_ / kStep * kStep; }
  HWY_INLINE int64_t cols() const { return cols_; }
  HWY_INLINE void fetch_ahead(int64_t col) const {
    for (int64_t i = 0; i < kIntegerRows * kStep; i += 64) hwy::Prefetch(ahead_ + col * kIntegerRows + i);
  }
  HWY_INLINE CodeVector load(int row, int64_t col) const { return biased(load_codes8(rows_[row] + col)); }

  // Zeros behind the row's end, where nothing is read.
  HWY_INLINE CodeVector load_edge(int row, int64_t col) const {
    HWY_ALIGN int8_t buffer[kStep] = {};
    std::memcpy(buffer, rows_[row] + col, static_cast<size_t>(std::min(kStep, cols_ - col)));
    return biased(load_codes8(buffer));
  }

 private:
  const int8_t* rows_[kIntegerRows];
  int64_t cols_;
  const std::byte* ahead_;
};

// Rows as pack_panel leaves them: kStep columns of each in turn.
class PanelRows {
 public:
  static constexpr bool kHasEdge = false;
  PanelRows(const std::byte* panel, int64_t cols)
      : panel_(reinterpret_cast<const int8_t*>(panel)), cols_((cols + kStep - 1) / kStep * kStep) {}
  HWY_INLINE int64_t whole_cols() const { return cols_; }
  HWY_INLINE void fetch_ahead(int64_t) const {}
  HWY_INLINE CodeVector load(int row, int64_t col) const {
    return load_codes8(panel_ + col * kIntegerRows + row * kStep);
  }

 private:
  const int8_t* panel_;
  int64_t cols_;
};

// out[r] = all of sums[r], less the bias.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void store_sums(const Sum* sums, int32_t bias, int32_t* out) {
  for (int r = 0; r < kIntegerRows; ++r) out[r] = hn::GetLane(total_of(sums[r])) - bias;
}
#else
template <typename D>
HWY_INLINE auto add_blocks(D d, hn::Vec<D> value) {
  if constexpr (hn::MaxLanes(d) == kIntegerRows) {
    return value;
  } else {
    const hn::Half<D> half;
    return add_blocks(half, hn::Add(hn::LowerHalf(half, value), hn::UpperHalf(half, value)));
  }
}

// Two vectors, each lane pair of a block in one: a, b, a, b.
HWY_INLINE auto add_pairs(const Sum& a, const Sum& b) {
  const SumTag d;
  const auto lower = hn::InterleaveLower(d, total_of(a), total_of(b));
  const auto upper = hn::InterleaveUpper(d, total_of(a), total_of(b));
  return hn::BitCast(hn::RepartitionToWide<SumTag>(), hn::Add(lower, upper));
}

HWY_INLINE void store_sums(const Sum* sums, int32_t bias, int32_t* out) {
  const SumTag d;
  const hn::RepartitionToWide<SumTag> d64;
  const hn::CappedTag<int32_t, kIntegerRows> to;
  const auto first = add_pairs(sums[0], sums[1]);
  const auto second = add_pairs(sums[2], sums[3]);
  const auto lower = hn::BitCast(d, hn::InterleaveLower(d64, first, second));
  const auto upper = hn::BitCast(d, hn::InterleaveUpper(d64, first, second));
  hn::StoreU(hn::Sub(add_blocks(d, hn::Add(lower, upper)), hn::Set(to, bias)), to, out);
}
#endif

template <int kTokens>
HWY_INLINE void multiply_step(const CodeVector* weights, const int8_t* const* x, int64_t col,
                              Sum (*sums)[kIntegerRows]) {
  for (int t = 0; t < kTokens; ++t) {
    const CodeVector activations = load_codes8(x[t] + col);
    for (int r = 0; r < kIntegerRows; ++r) multiply_add(weights[r], activations, sums[t][r]);
  }
}

template <int kTokens, typename Rows>
HWY_INLINE void multiply_tokens(const Rows& rows, const IntegerRows& x, int64_t token, int32_t* out) {
  const int8_t* codes[kTokens];
  for (int t = 0; t < kTokens; ++t) codes[t] = x.codes + (token + t) * x.stride;
  Sum sums[kTokens][kIntegerRows];
  for (auto& of_token : sums) {
    for (Sum& sum : of_token) sum = zero_sum();
  }
  CodeVector weights[kIntegerRows];
  int64_t col = 0;
  for (; col < rows.whole_cols(); col += kStep) {
    rows.fetch_ahead(col);
    for (int r = 0; r < kIntegerRows; ++r) weights[r] = rows.load(r, col);
    multiply_step<kTokens>(weights, codes, col, sums);
  }
  if constexpr (Rows::kHasEdge) {
    if (col < rows.cols()) {
      for (int r = 0; r < kIntegerRows; ++r) weights[r] = rows.load_edge(r, col);
      multiply_step<kTokens>(weights, codes, col, sums);
    }
  }
  for (int t = 0; t < kTokens; ++t)
    store_sums(sums[t], kBias * x.sums[token + t], out + int64_t{t} * kIntegerRows);
}

template <typename Rows>
HWY_INLINE void multiply(const Rows& rows, const IntegerRows& x, int64_t token, int tokens, int32_t* out) {
  constexpr int kRegisterTokens = kLanes == 16 ? kIntegerTokens : 2;
  for (; tokens >= kRegisterTokens; tokens -= kRegisterTokens) {
    multiply_tokens<kRegisterTokens>(rows, x, token, out);
    token += kRegisterTokens;
    out += int64_t{kRegisterTokens} * kIntegerRows;
  }
  if constexpr (kLanes == 16) {
    if (tokens == 5) return multiply_tokens<5>(rows, x, token, out);
    if (tokens == 4) return multiply_tokens<4>(rows, x, token, out);
    if (tokens == 3) return multiply_tokens<3>(rows, x, token, out);
    if (tokens == 2) return multiply_tokens<2>(rows, x, token, out);
  }
  if (tokens == 1) multiply_tokens<1>(rows, x, token, out);
}

void multiply_integer_panel_on(const std::byte* panel, int64_t cols, const IntegerRows& x, int64_t token,
                               int tokens, int32_t* out) {
  multiply(PanelRows(panel, cols), x, token, tokens, out);
}

void multiply_integer_tile_on(const WeightTile& tile, int first, const IntegerRows& x, int64_t token,
                              int tokens, int32_t* out) {
  multiply(SlotRows(tile, first), x, token, tokens, out);
}

void pack_integer_panel_on(const WeightTile& tile, int first, std::byte* panel) {
  const hn::CappedTag<uint8_t, 64> d;
  const auto bias = hn::Set(d, static_cast<uint8_t>(kBias));
  for (int64_t col = 0; col < tile.cols; col += kStep) {
    const auto count = static_cast<size_t>(std::min(kStep, tile.cols - col));
    for (int r = 0; r < kIntegerRows; ++r) {
      HWY_ALIGN uint8_t step[64] = {};
      std::memcpy(step, tile.data[first + r] + col, count);
      auto* to = reinterpret_cast<uint8_t*>(panel) + col * kIntegerRows + r * kStep;
      for (int64_t i = 0; i < kStep; i += static_cast<int64_t>(hn::Lanes(d))) {
        hn::StoreU(hn::Xor(hn::Load(d, step + i), bias), d, to + i);
      }
    }
  }
}

// kLanes activations from `col` on, zeros behind the last.
HWY_INLINE FloatVector load_activations(const float* x, int64_t cols, int64_t col) {
  if (col + kLanes <= cols) return hn::LoadU(FloatTag(), x + col);
  return load_first(x + col, cols - col);
}

// By their bits, whose order is that of the magnitudes, with what is not finite on top.
HWY_INLINE float largest_magnitude(const float* x, int64_t cols) {
  const SumTag d;
  const auto magnitude = hn::Set(d, std::numeric_limits<int32_t>::max());
  auto largest = hn::Zero(d);
  for (int64_t col = 0; col < cols; col += kLanes) {
    const auto bits = hn::BitCast(d, load_activations(x, cols, col));
    largest = hn::Max(largest, hn::And(bits, magnitude));
  }
  return hn::GetLane(hn::BitCast(FloatTag(), hn::MaxOfLanes(d, largest)));
}

void quantize_token_on(const float* x, int64_t cols, int64_t token, const IntegerRows& to) {
  const float largest = largest_magnitude(x, cols);
  int8_t* codes = to.codes + token * to.stride;
  to.scales[token] = std::isfinite(largest) ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
  to.sums[token] = 0;
  std::memset(codes, 0, static_cast<size_t>(to.stride));
  const float inverse = 127 / largest;
  if (!std::isfinite(inverse) || inverse == 0) return;
  const auto factor = hn::Set(FloatTag(), inverse);
  auto sum = hn::Zero(SumTag());
  for (int64_t col = 0; col < cols; col += kLanes) {
    const auto code = hn::NearestInt(hn::Mul(load_activations(x, cols, col), factor));
    sum = hn::Add(sum, code);
    hn::StoreU(hn::DemoteTo(hn::Rebind<int8_t, SumTag>(), code), hn::Rebind<int8_t, SumTag>(), codes + col);
  }
  to.sums[token] = hn::GetLane(hn::SumOfLanes(SumTag(), sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
