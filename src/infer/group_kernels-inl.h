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

#include "base/fetch.h"
#include "infer/factors-inl.h"
#include "infer/group_kernels.h"
#include "infer/integer_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

inline constexpr int32_t kInt4Zero = 8;  // what a code in the slot is above its number

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
  int32_t* zeros = x.group_zeros + token * (x.stride / kGroupStep);
  for (int64_t col = 0; col < cols; col += group) {
    int32_t sum = 0;
    for (int64_t i = col; i < std::min(col + group, cols); ++i) sum += codes[i];
    *zeros++ = -kInt4Zero * sum;
  }
}

#if HWY_TARGET != HWY_SCALAR
// A block of rows[0], one of rows[4], and so on.
template <typename D>
HWY_INLINE hn::Vec<D> load_blocks(D d, const std::byte* const* rows, int64_t at) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return hn::LoadU(d, reinterpret_cast<const int32_t*>(rows[0] + at));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_blocks(half, rows + hn::MaxLanes(half), at), load_blocks(half, rows, at));
  }
}

// Four words of each of kLanes rows: word i of row r goes to lane r of the vector at to + i * kGroupRows.
HWY_INLINE void interleave_words(const std::byte* const* rows, int64_t at, int32_t* to) {
  const SumTag d;
  const hn::RepartitionToWide<SumTag> d64;
  const auto wide = [&](SumVector words) HWY_ATTR { return hn::BitCast(d64, words); };
  const auto store = [&](auto words, int64_t i)
                         HWY_ATTR { hn::Store(hn::BitCast(d, words), d, to + i * kGroupRows); };
  const auto a = load_blocks(d, rows, at), b = load_blocks(d, rows + 1, at);
  const auto c = load_blocks(d, rows + 2, at), e = load_blocks(d, rows + 3, at);
  const auto ab = wide(hn::InterleaveLower(d, a, b)), ab_upper = wide(hn::InterleaveUpper(d, a, b));
  const auto ce = wide(hn::InterleaveLower(d, c, e)), ce_upper = wide(hn::InterleaveUpper(d, c, e));
  store(hn::InterleaveLower(d64, ab, ce), 0);
  store(hn::InterleaveUpper(d64, ab, ce), 1);
  store(hn::InterleaveLower(d64, ab_upper, ce_upper), 2);
  store(hn::InterleaveUpper(d64, ab_upper, ce_upper), 3);
}
#endif

// `count` words of each of kGroupRows rows: to[i * kGroupRows + r] = word i of row r. Calls fetch(begin,
// bytes) for what lies behind all of them, as it goes.
template <typename Fetch>
HWY_INLINE void interleave_rows(const std::byte* const* rows, int64_t count, std::byte* to,
                                const Fetch& fetch) {
  constexpr int64_t kWord = sizeof(int32_t), kLine = kGroupRows * kWord;
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; i + 4 <= count; i += 4) {
    fetch(i * kLine, 4 * kLine);
    for (int64_t r = 0; r < kGroupRows; r += kLanes) {
      interleave_words(rows + r, i * kWord, reinterpret_cast<int32_t*>(to + i * kLine) + r);
    }
  }
#endif
  for (; i < count; ++i) {
    fetch(i * kLine, kLine);
    for (int64_t r = 0; r < kGroupRows; ++r) {
      std::memcpy(to + i * kLine + r * kWord, rows[r] + i * kWord, static_cast<size_t>(kWord));
    }
  }
}

// Of groups [first, first + count), in fp32: to[i * kGroupRows + r] = scale first + i of row r.
void pack_scales_of(const WeightTile* tiles, int64_t first, int64_t count, std::byte* to) {
  HWY_ALIGN float scales[kGroupRows][kSpansTogether];
  const std::byte* rows[kGroupRows];
  for (int64_t r = 0; r < kGroupRows; ++r) {
    const WeightTile& tile = tiles[r / kTileRows];
    widen_factors(tile.scale_dtype, tile.scale[r % kTileRows], first, count, scales[r]);
    rows[r] = reinterpret_cast<const std::byte*>(scales[r]);
  }
  interleave_rows(rows, count, to, [](int64_t, int64_t) {});
}

// The same of bf16 scales and an even count: two are a word while rows are interleaved.
void pack_pairs_of_scales(const WeightTile* tiles, int64_t first, int64_t count, std::byte* to) {
  const hn::Rebind<uint32_t, FloatTag> d;
  HWY_ALIGN uint32_t pairs[kSpansTogether / 2 * kGroupRows];
  const std::byte* rows[kGroupRows];
  for (int64_t r = 0; r < kGroupRows; ++r) rows[r] = tiles[r / kTileRows].scale[r % kTileRows] + 2 * first;
  interleave_rows(rows, count / 2, reinterpret_cast<std::byte*>(pairs), [](int64_t, int64_t) {});
  auto* scales = reinterpret_cast<float*>(to);
  for (int64_t i = 0; i < count / 2; ++i, scales += 2 * kGroupRows) {
    for (int64_t r = 0; r < kGroupRows; r += kLanes) {
      const auto both = hn::Load(d, pairs + i * kGroupRows + r);
      hn::Store(hn::BitCast(FloatTag(), hn::ShiftLeft<16>(both)), FloatTag(), scales + r);
      const auto second = hn::And(both, hn::Set(d, 0xffff0000u));
      hn::Store(hn::BitCast(FloatTag(), second), FloatTag(), scales + kGroupRows + r);
    }
  }
}

// Of all groups.
void pack_scales(const WeightTile* tiles, int64_t groups, std::byte* to) {
  constexpr int64_t kLine = kGroupRows * static_cast<int64_t>(sizeof(float));
  for (int64_t first = 0; first < groups; first += kSpansTogether) {
    const int64_t count = std::min(kSpansTogether, groups - first);
    const bool pairs = tiles->scale_dtype == DType::kBF16 && count % 2 == 0;
    (pairs ? pack_pairs_of_scales : pack_scales_of)(tiles, first, count, to + first * kLine);
  }
}

// kGroupRows rows of a weight from `row` on.
struct SlotGroups {
  SlotGroups(const WeightView& weight, int64_t row)
      : format(*weight.format),
        tiles{tile_of(weight, row), tile_of(weight, std::min(row + kTileRows, format.rows - 1))} {
    for (int64_t r = 0; r < kGroupRows; ++r) rows[r] = tiles[r / kTileRows].data[r % kTileRows];
  }
  // Those of the next rows follow these, as do their scales.
  HWY_INLINE void fetch_next(int64_t begin, int64_t bytes) const {
    fetch_lines(rows[0] + kGroupRows * format.data.row_bytes + begin, bytes, true);
  }
  HWY_INLINE void fetch_next_scales() const {
    const int64_t bytes = kGroupRows * format.scale.row_bytes;
    fetch_lines(tiles[0].scale[0] + bytes, bytes, true);
  }
  int64_t groups() const { return group_count(format.cols, format.scheme.size); }

  const KernelFormat& format;
  const WeightTile tiles[kGroupRows / kTileRows];
  const std::byte* rows[kGroupRows];
};

HWY_INLINE void pack_groups(const SlotGroups& from, std::byte* panel) {
  const int64_t cols = from.format.cols;
  interleave_rows(from.rows, cols / kGroupStep, panel,
                  [&](int64_t begin, int64_t bytes) HWY_ATTR { from.fetch_next(begin, bytes); });
  pack_scales(from.tiles, from.groups(), panel + kGroupRows * cols / 2);
}

void pack_group_panel_on(const WeightView& weight, int64_t row, std::byte* panel) {
  pack_groups(SlotGroups(weight, row), panel);
}

template <typename Products, int kTokens>
HWY_INLINE void multiply_group_tokens(const std::byte* panel, int64_t cols, int64_t group,
                                      const IntegerRows& x, int64_t token, float* out) {
  const SumTag d;
  const int8_t* split[kTokens];
  const int32_t* zeros[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    split[t] = x.split + (token + t) * x.stride;
    zeros[t] = x.group_zeros + (token + t) * (x.stride / kGroupStep);
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
      typename Products::Sum sums[kTokens], odd_sums[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = Products::sum_from(hn::Set(d, zeros[t][g]));
        odd_sums[t] = Products::sum_from(hn::Zero(d));
      }
      for (const int64_t end = std::min((g + 1) * group, cols) / 2; at < end; at += 4, codes += kGroupRows) {
        const auto pairs = hn::Load(d, codes);
        const auto first = hn::And(pairs, low), second = hn::And(hn::ShiftRight<4>(pairs), low);
        for (int t = 0; t < kTokens; ++t) {
          Products::add_four(first, split[t] + at, sums[t]);
          Products::add_four(second, split[t] + odd + at, odd_sums[t]);
        }
      }
      const auto scale = hn::Load(FloatTag(), scales);
      for (int t = 0; t < kTokens; ++t) {
        const auto sum = hn::Add(Products::total_of(sums[t]), Products::total_of(odd_sums[t]));
        products[t] = hn::Add(products[t], hn::Mul(hn::ConvertTo(FloatTag(), sum), scale));
      }
    }
    for (int t = 0; t < kTokens; ++t) hn::StoreU(products[t], FloatTag(), out + t * kGroupRows + r);
  }
}

void multiply_group_panel_on(const std::byte* panel, int64_t cols, int64_t group, const IntegerRows& x,
                             int64_t token, int tokens, float* out) {
  with_products(x.vnni, [&](auto products) HWY_ATTR {
    for_token_counts<kRegisterTokens>(0, tokens, [&](auto count, int first) HWY_ATTR {
      multiply_group_tokens<decltype(products), count>(panel, cols, group, x, token + first,
                                                       out + first * kGroupRows);
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
