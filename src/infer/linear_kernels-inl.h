// The loops behind linear_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#endif

#include <hwy/cache_control.h>

#include <algorithm>
#include <type_traits>

#include "infer/linear_kernels.h"
#include "infer/row_decoder-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Tokens whose sums fit in registers together with kTileRows rows.
inline constexpr int kRegisterTokens = kLanes == 16 ? 6 : 2;

using Whole = std::true_type;
using Edge = std::false_type;

// Decodes the tile's rows side by side and calls use(col, weights, Whole() or Edge()) for every kLanes
// columns, while what lies `ahead` is fetched: the rows of a matrix follow one another in memory.
template <typename Decoder, typename Use>
HWY_INLINE void walk_tile(const WeightTile& rows, const Use& use) {
  Decoder decoders[kTileRows];
  const std::byte* ahead = rows.data[0] + rows.prefetch_bytes;
  walk_columns(
      rows,
      [&](int64_t span) HWY_ATTR {
        for (int r = 0; r < kTileRows; ++r) decoders[r].enter(rows, r, span);
      },
      [&](int64_t col) HWY_ATTR {
        constexpr int64_t kStepBytes = kTileRows * kLanes * Decoder::kBits / 8;
        for (int64_t i = 0; i < kStepBytes; i += 64) hwy::Prefetch(ahead + i);
        ahead += kStepBytes;
        FloatVector weights[kTileRows];
        for (int r = 0; r < kTileRows; ++r) weights[r] = decoders[r].decode(rows.data[r], col);
        use(col, weights, Whole());
      },
      [&](int64_t col) HWY_ATTR {
        FloatVector weights[kTileRows];
        for (int r = 0; r < kTileRows; ++r) weights[r] = decode_edge(rows, r, col);
        use(col, weights, Edge());
      });
}

template <typename Decoder>
void dot_rows(const WeightTile& rows, const float* x, float* out) {
  const FloatTag d;
  FloatVector sum[kTileRows] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  walk_tile<Decoder>(rows, [&](int64_t col, const FloatVector* weights, auto whole) HWY_ATTR {
    FloatVector activation;
    if constexpr (whole) {
      activation = hn::LoadU(d, x + col);
    } else {
      activation = load_first(x + col, std::min<int64_t>(kLanes, rows.cols - col));
    }
    for (int r = 0; r < kTileRows; ++r) sum[r] = hn::MulAdd(weights[r], activation, sum[r]);
  });
  for (int r = 0; r < kTileRows; ++r) out[r] = sum_lanes(sum[r]);
}

template <typename Decoder>
void decode_rows(const WeightTile& rows, float* panel) {
  walk_tile<Decoder>(rows, [&](int64_t col, const FloatVector* weights, auto) HWY_ATTR {
    for (int r = 0; r < kTileRows; ++r) {
      hn::Store(weights[r], FloatTag(), panel + col * kTileRows + r * kLanes);
    }
  });
}

template <typename Decoder>
void decode_columns(const WeightTile& rows, int index, float* out) {
  Decoder decoder;
  walk_columns(
      rows, [&](int64_t span) HWY_ATTR { decoder.enter(rows, index, span); },
      [&](int64_t col) HWY_ATTR { hn::StoreU(decoder.decode(rows.data[index], col), FloatTag(), out + col); },
      [&](int64_t col) HWY_ATTR {
        store_first(decode_edge(rows, index, col), out + col, std::min<int64_t>(kLanes, rows.cols - col));
      });
}

struct DotVisitor {
  const WeightTile& rows;
  const float* x;
  float* out;
  template <typename Decoder>
  void visit() const {
    dot_rows<Decoder>(rows, x, out);
  }
};

struct DecodePanelVisitor {
  const WeightTile& rows;
  float* panel;
  template <typename Decoder>
  void visit() const {
    decode_rows<Decoder>(rows, panel);
  }
};

struct DecodeRowVisitor {
  const WeightTile& rows;
  int index;
  float* out;
  template <typename Decoder>
  void visit() const {
    decode_columns<Decoder>(rows, index, out);
  }
};

void dot_tile_on(const WeightTile& rows, const float* x, float* out) {
  with_decoder(rows, DotVisitor{rows, x, out});
}

void decode_panel_on(const WeightTile& rows, float* panel) {
  with_decoder(rows, DecodePanelVisitor{rows, panel});
}

void decode_row_on(const WeightTile& rows, int index, float* out) {
  with_decoder(rows, DecodeRowVisitor{rows, index, out});
}

// Adds columns [begin, end) of a panel's products with kTokens tokens to their sums, which lie in memory
// before and after: kTileRows registers a token.
template <int kTokens>
void multiply_columns(const float* panel, const float* const* x, const PanelColumns& columns, float* sums) {
  const FloatTag d;
  FloatVector sum[kTokens][kTileRows];
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) {
      sum[t][r] = columns.begin == 0 ? hn::Zero(d) : hn::Load(d, sums + (t * kTileRows + r) * kMostLanes);
    }
  }
  int64_t col = columns.begin;
  for (; col + kLanes <= columns.end; col += kLanes) {
    FloatVector weight[kTileRows];
    for (int r = 0; r < kTileRows; ++r) weight[r] = hn::Load(d, panel + col * kTileRows + r * kLanes);
    for (int t = 0; t < kTokens; ++t) {
      const FloatVector activation = hn::LoadU(d, x[t] + col);
      for (int r = 0; r < kTileRows; ++r) sum[t][r] = hn::MulAdd(weight[r], activation, sum[t][r]);
    }
  }
  if (col < columns.end) {
    for (int t = 0; t < kTokens; ++t) {
      const FloatVector activation = load_first(x[t] + col, columns.end - col);
      for (int r = 0; r < kTileRows; ++r) {
        const FloatVector weight = hn::Load(d, panel + col * kTileRows + r * kLanes);
        sum[t][r] = hn::MulAdd(weight, activation, sum[t][r]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) {
      float* to = sums + (t * kTileRows + r) * kMostLanes;
      if (columns.last) {
        *to = sum_lanes(sum[t][r]);
      } else {
        hn::Store(sum[t][r], d, to);
      }
    }
  }
}

void multiply_panel_on(const float* panel, const float* const* x, int tokens, const PanelColumns& columns,
                       float* sums) {
  constexpr int64_t kTokenSums = kTileRows * kMostLanes;
  for (; tokens >= kRegisterTokens; tokens -= kRegisterTokens) {
    multiply_columns<kRegisterTokens>(panel, x, columns, sums);
    x += kRegisterTokens;
    sums += kRegisterTokens * kTokenSums;
  }
  if constexpr (kRegisterTokens == 6) {
    if (tokens == 5) return multiply_columns<5>(panel, x, columns, sums);
    if (tokens == 4) return multiply_columns<4>(panel, x, columns, sums);
    if (tokens == 3) return multiply_columns<3>(panel, x, columns, sums);
    if (tokens == 2) return multiply_columns<2>(panel, x, columns, sums);
  }
  if (tokens == 1) multiply_columns<1>(panel, x, columns, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
