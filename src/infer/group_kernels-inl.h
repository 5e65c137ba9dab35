// The loops behind group_kernels.h, a row of weights a lane. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_GROUP_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_GROUP_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_GROUP_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_GROUP_KERNELS_INL_H_
#endif

#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>

#include "infer/factors-inl.h"
#include "infer/group_kernels.h"
#include "infer/integer_products-inl.h"

LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS();
namespace liveweight {
namespace HWY_NAMESPACE {

inline constexpr int32_t kInt4Zero = 8;  // what a code in the slot is above its number

// Four activations.
HWY_INLINE int32_t load_four(const int8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof four);
  return four;
}

// Adds to each lane the products of its four bytes, each 0 to 15, with those activations.
#if HWY_TARGET <= HWY_AVX3_DL
HWY_INLINE Sum sum_from(SumVector value) {
  return reinterpret_cast<Sum>(value.raw);
}
HWY_INLINE void add_products(SumVector weights, const int8_t* x, Sum& sum) {
  const auto activations = hn::Set(SumTag(), load_four(x));
  multiply_add(hn::BitCast(CodeTag8(), weights), hn::BitCast(CodeTag8(), activations), sum);
}
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
HWY_INLINE Sum sum_from(SumVector value) {
  return value;
}
HWY_INLINE void add_products(SumVector weights, const int8_t* x, Sum& sum) {
  const SumTag d;
  const auto bytes = hn::Set(d, 0x000f000f);
  const auto pair = [&](int a, int b) {
    return hn::BitCast(WideTag(), hn::Set(d, (x[a] & 0xffff) | static_cast<int32_t>(uint32_t(x[b]) << 16)));
  };
  multiply_add(hn::BitCast(WideTag(), hn::And(weights, bytes)), pair(0, 2), sum);
  multiply_add(hn::BitCast(WideTag(), hn::And(hn::ShiftRight<8>(weights), bytes)), pair(1, 3), sum);
}
#else
HWY_INLINE SumVector products_of(SumVector weights, int8_t x) {
  const SumTag d;
  return hn::Mul(hn::And(weights, hn::Set(d, 0x0f)), hn::Set(d, int32_t{x}));
}
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE Sum sum_from(SumVector value) {
  return value;
}
HWY_INLINE SumVector& lanes_of(Sum& sum) {
  return sum;
}
#else
HWY_INLINE Sum sum_from(SumVector value) {
  return {value, hn::Zero(SumTag())};
}
HWY_INLINE SumVector& lanes_of(Sum& sum) {
  return sum.lower;
}
#endif
HWY_INLINE void add_products(SumVector weights, const int8_t* x, Sum& sum) {
  SumVector& lanes = lanes_of(sum);
  lanes = hn::Add(lanes, products_of(weights, x[0]));
  lanes = hn::Add(lanes, products_of(hn::ShiftRight<8>(weights), x[1]));
  lanes = hn::Add(lanes, products_of(hn::ShiftRight<16>(weights), x[2]));
  lanes = hn::Add(lanes, products_of(hn::ShiftRight<24>(weights), x[3]));
}
#endif

void split_token_on(int64_t cols, int64_t group, int64_t token, const IntegerRows& x) {
  const hn::CappedTag<int8_t, 32> d;
  const int8_t* codes = x.codes + token * x.stride;
  int8_t* even = x.split + token * x.stride;
  int8_t* odd = even + x.stride / 2;
  for (int64_t i = 0; i < x.stride / 2; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::Vec<decltype(d)> a, b;
    hn::LoadInterleaved2(d, codes + 2 * i, a, b);
    hn::StoreU(a, d, even + i);
    hn::StoreU(b, d, odd + i);
  }
  int32_t* sums = x.group_sums + token * (x.stride / kGroupStep);
  for (int64_t col = 0; col < cols; col += group) {
    int32_t sum = 0;
    for (int64_t i = col; i < std::min(col + group, cols); ++i) sum += codes[i];
    *sums++ = sum;
  }
}

// `count` words of each of kGroupRows rows: to[i * kGroupRows + r] = word i of row r. Calls fetch(begin,
// bytes) for what lies behind all of them, as it goes.
template <typename Fetch>
HWY_INLINE void interleave_rows(const std::byte* const* rows, int64_t count, std::byte* to,
                                const Fetch& fetch) {
  constexpr int64_t kWord = sizeof(int32_t), kLine = kGroupRows * kWord;
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<int32_t, 4> d;
  const hn::FixedTag<int64_t, 2> d64;
  const auto wide = [&](auto words) HWY_ATTR { return hn::BitCast(d64, words); };
  for (; i + 4 <= count; i += 4) {
    fetch(i * kLine, 4 * kLine);
    for (int64_t r = 0; r < kGroupRows; r += 4) {
      const auto word = [&](int64_t row) HWY_ATTR {
        return hn::LoadU(d, reinterpret_cast<const int32_t*>(rows[r + row] + i * kWord));
      };
      const auto a = word(0), b = word(1), c = word(2), e = word(3);
      const auto ab = wide(hn::InterleaveLower(d, a, b)), ab_upper = wide(hn::InterleaveUpper(d, a, b));
      const auto ce = wide(hn::InterleaveLower(d, c, e)), ce_upper = wide(hn::InterleaveUpper(d, c, e));
      auto* at = reinterpret_cast<int64_t*>(to + i * kLine + r * kWord);
      hn::Store(hn::InterleaveLower(d64, ab, ce), d64, at);
      hn::Store(hn::InterleaveUpper(d64, ab, ce), d64, at + kLine / 8);
      hn::Store(hn::InterleaveLower(d64, ab_upper, ce_upper), d64, at + 2 * kLine / 8);
      hn::Store(hn::InterleaveUpper(d64, ab_upper, ce_upper), d64, at + 3 * kLine / 8);
    }
  }
#endif
  for (; i < count; ++i) {
    for (int64_t r = 0; r < kGroupRows; ++r) {
      std::memcpy(to + i * kLine + r * kWord, rows[r] + i * kWord, static_cast<size_t>(kWord));
    }
  }
}

// Of all groups, in fp32.
void pack_scales(const WeightTile* tiles, int64_t groups, std::byte* to) {
  HWY_ALIGN float scales[kGroupRows][kSpansTogether];
  const std::byte* rows[kGroupRows];
  for (int64_t r = 0; r < kGroupRows; ++r) rows[r] = reinterpret_cast<const std::byte*>(scales[r]);
  for (int64_t first = 0; first < groups; first += kSpansTogether) {
    const int64_t count = std::min(kSpansTogether, groups - first);
    for (int64_t r = 0; r < kGroupRows; ++r) {
      const WeightTile& tile = tiles[r / kTileRows];
      widen_factors(tile.scale_dtype, tile.scale[r % kTileRows], first, count, scales[r]);
    }
    interleave_rows(rows, count, to + first * kGroupRows * static_cast<int64_t>(sizeof(float)),
                    [](int64_t, int64_t) {});
  }
}

void pack_group_panel_on(const WeightView& weight, int64_t row, std::byte* panel) {
  const KernelFormat& format = *weight.format;
  const WeightTile tiles[] = {tile_of(weight, row),
                              tile_of(weight, std::min(row + kTileRows, format.rows - 1))};
  const std::byte* rows[kGroupRows];
  for (int64_t r = 0; r < kGroupRows; ++r) rows[r] = tiles[r / kTileRows].data[r % kTileRows];
  // The rows of the next panel follow these.
  const std::byte* next = rows[0] + kGroupRows * format.data.row_bytes;
  interleave_rows(rows, format.cols / kGroupStep, panel, [&](int64_t begin, int64_t bytes) HWY_ATTR {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(next + begin + i, 0, 2);
  });
  pack_scales(tiles, group_count(format.cols, format.scheme.size), panel + kGroupRows * format.cols / 2);
}

template <int kTokens>
HWY_INLINE void multiply_group_tokens(const std::byte* panel, int64_t cols, int64_t group,
                                      const IntegerRows& x, int64_t token, float* out) {
  const SumTag d;
  const int8_t* split[kTokens];
  const int32_t* group_sums[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    split[t] = x.split + (token + t) * x.stride;
    group_sums[t] = x.group_sums + (token + t) * (x.stride / kGroupStep);
  }
  const int64_t odd = x.stride / 2, groups = group_count(cols, group);
  const auto low = hn::Set(d, 0x0f0f0f0f);
  for (int64_t r = 0; r < kGroupRows; r += kLanes) {
    const auto* codes = reinterpret_cast<const int32_t*>(panel) + r;
    const auto* scales = reinterpret_cast<const float*>(panel + kGroupRows * cols / 2) + r;
    FloatVector products[kTokens];
    for (FloatVector& of_token : products) of_token = hn::Zero(FloatTag());
    int64_t at = 0;  // among the columns of one parity
    for (int64_t g = 0; g < groups; ++g, scales += kGroupRows) {
      Sum sums[kTokens], odd_sums[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = sum_from(hn::Set(d, -kInt4Zero * group_sums[t][g]));
        odd_sums[t] = zero_sum();
      }
      for (const int64_t end = std::min((g + 1) * group, cols) / 2; at < end; at += 4, codes += kGroupRows) {
        const auto pairs = hn::Load(d, codes);
        const auto first = hn::And(pairs, low), second = hn::And(hn::ShiftRight<4>(pairs), low);
        for (int t = 0; t < kTokens; ++t) {
          add_products(first, split[t] + at, sums[t]);
          add_products(second, split[t] + odd + at, odd_sums[t]);
        }
      }
      const auto scale = hn::Load(FloatTag(), scales);
      for (int t = 0; t < kTokens; ++t) {
        const auto sum = hn::ConvertTo(FloatTag(), hn::Add(total_of(sums[t]), total_of(odd_sums[t])));
        products[t] = hn::Add(products[t], hn::Mul(sum, scale));
      }
    }
    for (int t = 0; t < kTokens; ++t) hn::StoreU(products[t], FloatTag(), out + t * kGroupRows + r);
  }
}

void multiply_group_panel_on(const std::byte* panel, int64_t cols, int64_t group, const IntegerRows& x,
                             int64_t token, int tokens, float* out) {
  constexpr int kRegisterTokens = kLanes == 16 ? kIntegerTokens : 2;
  for (; tokens >= kRegisterTokens; tokens -= kRegisterTokens) {
    multiply_group_tokens<kRegisterTokens>(panel, cols, group, x, token, out);
    token += kRegisterTokens;
    out += kRegisterTokens * kGroupRows;
  }
  if constexpr (kLanes == 16) {
    if (tokens == 5) return multiply_group_tokens<5>(panel, cols, group, x, token, out);
    if (tokens == 4) return multiply_group_tokens<4>(panel, cols, group, x, token, out);
    if (tokens == 3) return multiply_group_tokens<3>(panel, cols, group, x, token, out);
    if (tokens == 2) return multiply_group_tokens<2>(panel, cols, group, x, token, out);
  }
  if (tokens == 1) multiply_group_tokens<1>(panel, cols, group, x, token, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
