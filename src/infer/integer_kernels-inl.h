// The loops behind integer_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_INTEGER_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/fetch.h"
#include "infer/integer_kernels.h"
#include "infer/integer_products-inl.h"
#include "infer/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Columns of one step.
template <typename Products>
inline constexpr int64_t kStep = hn::MaxLanes(typename Products::CodeTag());

// Rows as they lie in the slot; what lies ahead is fetched, as the rows of a matrix follow one another.
template <typename ProductsOf>
class SlotRows {
 public:
  using Products = ProductsOf;
  using Codes = typename Products::Codes;
  static constexpr bool kInSlot = true;
  SlotRows(const WeightTile& tile, int first) : cols_(tile.cols), ahead_(tile.prefetch_bytes) {
    for (int r = 0; r < kIntegerRows; ++r) rows_[r] = reinterpret_cast<const int8_t*>(tile.data[first + r]);
  }
  HWY_INLINE int64_t whole_cols() const { return cols_ / kStep<Products> * kStep<Products>; }
  HWY_INLINE int64_t cols() const { return cols_; }
  HWY_INLINE void fetch_ahead(int64_t col) const {
    fetch(0, col * kIntegerRows, kIntegerRows * kStep<Products>);
  }
  HWY_INLINE void fetch(int row, int64_t col, int64_t bytes) const {
    fetch_lines(rows_[row] + ahead_ + col, bytes, second_level_);
  }
  HWY_INLINE Codes load(int row, int64_t col) const {
    return Products::biased(Products::load(rows_[row] + col));
  }

  // Zeros behind the row's end, where nothing is read.
  HWY_INLINE Codes load_edge(int row, int64_t col) const {
    HWY_ALIGN int8_t buffer[kStep<Products>] = {};
    std::memcpy(buffer, rows_[row] + col, static_cast<size_t>(std::min(kStep<Products>, cols_ - col)));
    return Products::biased(Products::load(buffer));
  }

 private:
  const int8_t* rows_[kIntegerRows];
  int64_t cols_;
  int64_t ahead_;
  const bool second_level_ = kFetchesIntoSecondLevel;
};

// Rows as pack_panel leaves them: kStep columns of each in turn.
template <typename ProductsOf>
class PanelRows {
 public:
  using Products = ProductsOf;
  using Codes = typename Products::Codes;
  static constexpr bool kInSlot = false;
  PanelRows(const std::byte* panel, int64_t cols)
      : panel_(reinterpret_cast<const int8_t*>(panel)),
        cols_((cols + kStep<Products> - 1) / kStep<Products> * kStep<Products>) {}
  HWY_INLINE int64_t whole_cols() const { return cols_; }
  HWY_INLINE void fetch_ahead(int64_t) const {}
  HWY_INLINE Codes load(int row, int64_t col) const {
    return Products::load(panel_ + col * kIntegerRows + row * kStep<Products>);
  }

 private:
  const int8_t* panel_;
  int64_t cols_;
};

// out[r] = all of sums[r], less the bias.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void store_sums(const SumVector* sums, int32_t bias, int32_t* out) {
  for (int r = 0; r < kIntegerRows; ++r) out[r] = hn::GetLane(sums[r]) - bias;
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

HWY_INLINE void store_sums(const SumVector* sums, int32_t bias, int32_t* out) {
  const hn::CappedTag<int32_t, kIntegerRows> to;
  hn::StoreU(hn::Sub(add_blocks(SumTag(), add_block_lanes(sums)), hn::Set(to, bias)), to, out);
}
#endif

template <typename Products, int kTokens>
HWY_INLINE void multiply_step(const typename Products::Codes* weights, const int8_t* const* x, int64_t col,
                              typename Products::Sum (*sums)[kIntegerRows]) {
  for (int t = 0; t < kTokens; ++t) {
    const auto activations = Products::load(x[t] + col);
    for (int r = 0; r < kIntegerRows; ++r) Products::add(weights[r], activations, sums[t][r]);
  }
}

template <int kTokens, typename Rows>
HWY_INLINE void multiply_tokens(const Rows& rows, const IntegerRows& x, int64_t token, int32_t* out) {
  using Products = typename Rows::Products;
  const int8_t* codes[kTokens];
  for (int t = 0; t < kTokens; ++t) codes[t] = x.codes + (token + t) * x.stride;
  typename Products::Sum sums[kTokens][kIntegerRows];
  for (auto& of_token : sums) {
    for (auto& sum : of_token) sum = Products::sum_from(hn::Zero(SumTag()));
  }
  typename Products::Codes weights[kIntegerRows];
  int64_t col = 0;
  for (; col < rows.whole_cols(); col += kStep<Products>) {
    rows.fetch_ahead(col);
    for (int r = 0; r < kIntegerRows; ++r) weights[r] = rows.load(r, col);
    multiply_step<Products, kTokens>(weights, codes, col, sums);
  }
  if constexpr (Rows::kInSlot) {
    if (col < rows.cols()) {
      for (int r = 0; r < kIntegerRows; ++r) weights[r] = rows.load_edge(r, col);
      multiply_step<Products, kTokens>(weights, codes, col, sums);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    SumVector totals[kIntegerRows];
    for (int r = 0; r < kIntegerRows; ++r) totals[r] = Products::total_of(sums[t][r]);
    store_sums(totals, Products::kBias * x.sums[token + t], out + int64_t{t} * kIntegerRows);
  }
}

// One row of one token, by several sums, as each takes its time.
template <typename Products>
HWY_INLINE SumVector multiply_row(const SlotRows<Products>& rows, int row, const int8_t* x) {
  constexpr int64_t kSums = 4;
  typename Products::Sum sums[kSums];
  for (auto& sum : sums) sum = Products::sum_from(hn::Zero(SumTag()));
  const auto step = [&](int64_t col, auto& sum)
                        HWY_ATTR { Products::add(rows.load(row, col), Products::load(x + col), sum); };
  int64_t col = 0;
  for (; col + kSums * kStep<Products> <= rows.cols(); col += kSums * kStep<Products>) {
    rows.fetch(row, col, kSums * kStep<Products>);
    for (int64_t i = 0; i < kSums; ++i) step(col + i * kStep<Products>, sums[i]);
  }
  for (; col < rows.whole_cols(); col += kStep<Products>) step(col, sums[0]);
  if (col < rows.cols()) Products::add(rows.load_edge(row, col), Products::load(x + col), sums[0]);
  auto total = Products::total_of(sums[0]);
  for (int64_t i = 1; i < kSums; ++i) total = hn::Add(total, Products::total_of(sums[i]));
  return total;
}

// One token takes one row after the other: memory is read in order, and all there is to do is to read it.
template <typename Products>
HWY_INLINE void multiply_token(const SlotRows<Products>& rows, const IntegerRows& x, int64_t token,
                               int32_t* out) {
  SumVector totals[kIntegerRows];
  for (int r = 0; r < kIntegerRows; ++r) totals[r] = multiply_row(rows, r, x.codes + token * x.stride);
  store_sums(totals, Products::kBias * x.sums[token], out);
}

template <typename Rows>
HWY_INLINE void multiply(const Rows& rows, const IntegerRows& x, int64_t token, int tokens, int32_t* out) {
  for_token_counts<kRegisterTokens>(0, tokens, [&](auto count, int first) HWY_ATTR {
    int32_t* to = out + int64_t{first} * kIntegerRows;
    if constexpr (count == 1 && Rows::kInSlot) {
      multiply_token(rows, x, token + first, to);
    } else {
      multiply_tokens<count>(rows, x, token + first, to);
    }
  });
}

void multiply_integer_panel_on(const std::byte* panel, int64_t cols, const IntegerRows& x, int64_t token,
                               int tokens, int32_t* out) {
  with_products(x.vnni, [&](auto products) HWY_ATTR {
    multiply(PanelRows<decltype(products)>(panel, cols), x, token, tokens, out);
  });
}

void multiply_integer_tile_on(const WeightTile& tile, int first, const IntegerRows& x, int64_t token,
                              int tokens, int32_t* out) {
  with_products(x.vnni, [&](auto products) HWY_ATTR {
    multiply(SlotRows<decltype(products)>(tile, first), x, token, tokens, out);
  });
}

template <typename Products>
HWY_INLINE void pack(const WeightTile& tile, int first, std::byte* panel) {
  constexpr int64_t kCols = kStep<Products>;
  const hn::CappedTag<uint8_t, kCols> d;
  const auto bias = hn::Set(d, static_cast<uint8_t>(Products::kBias));
  auto* to = reinterpret_cast<uint8_t*>(panel);
  for (int64_t col = 0; col < tile.cols; col += kCols) {
    for (int r = 0; r < kIntegerRows; ++r, to += kCols) {
      const auto* from = reinterpret_cast<const uint8_t*>(tile.data[first + r]) + col;
      HWY_ALIGN uint8_t edge[kCols] = {};
      if (col + kCols > tile.cols) {
        std::memcpy(edge, from, static_cast<size_t>(tile.cols - col));
        from = edge;
      }
      hn::StoreU(hn::Xor(hn::LoadU(d, from), bias), d, to);
    }
  }
}

void pack_integer_panel_on(const WeightTile& tile, int first, const IntegerRows& x, std::byte* panel) {
  with_products(x.vnni, [&](auto products) HWY_ATTR { pack<decltype(products)>(tile, first, panel); });
}

bool has_vnni_on() {
  return supports_vnni();
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
