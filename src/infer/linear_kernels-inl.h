// The loops behind linear_kernels.h. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#undef LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#else
#define LIVEWEIGHT_INFER_LINEAR_KERNELS_INL_H_
#endif

#include <algorithm>

#include "infer/linear_kernels.h"
#include "infer/row_decoder-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// The products of rows [first, first + kRows) with kTokens tokens.
template <typename Decoder, int kRows, int kTokens>
HWY_INLINE void dot_rows(const WeightTile& rows, int first, const float* const* x, float* out) {
  const FloatTag d;
  FloatVector sum[kTokens][kRows];
  for (auto& of_token : sum) {
    for (FloatVector& value : of_token) value = hn::Zero(d);
  }
  int64_t col = walk_rows<Decoder, kRows>(rows, first, [&](int64_t at, const FloatVector* weights) HWY_ATTR {
    for (int t = 0; t < kTokens; ++t) {
      const FloatVector activation = Decoder::arrange(hn::LoadU(d, x[t] + at));
      for (int r = 0; r < kRows; ++r) sum[t][r] = hn::MulAdd(weights[r], activation, sum[t][r]);
    }
  });
  for (auto& of_token : sum) {
    for (FloatVector& value : of_token) value = Decoder::in_order(value);
  }
  for (; col < rows.cols; col += kLanes) {
    for (int t = 0; t < kTokens; ++t) {
      const FloatVector activation = load_first(x[t] + col, std::min<int64_t>(kLanes, rows.cols - col));
      for (int r = 0; r < kRows; ++r) {
        sum[t][r] = hn::MulAdd(decode_edge(rows, first + r, col), activation, sum[t][r]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kRows; ++r) out[t * kTileRows + first + r] = sum_lanes(sum[t][r]);
  }
}

// All rows of the tile, kRows at a time.
template <typename Decoder, int kRows, int kTokens>
void dot_all_rows(const WeightTile& rows, const float* const* x, float* out) {
  for (int first = 0; first < kTileRows; first += kRows) {
    dot_rows<Decoder, kRows, kTokens>(rows, first, x, out);
  }
}

template <typename Decoder>
void decode_rows(const WeightTile& rows, int first, float* panel) {
  const FloatTag d;
  int64_t col =
      walk_rows<Decoder, kPanelRows>(rows, first, [&](int64_t at, const FloatVector* weights) HWY_ATTR {
        for (int r = 0; r < kPanelRows; ++r) {
          hn::Store(Decoder::in_order(weights[r]), d, panel + at * kPanelRows + r * kLanes);
        }
      });
  for (; col < rows.cols; col += kLanes) {
    for (int r = 0; r < kPanelRows; ++r) {
      hn::Store(decode_edge(rows, first + r, col), d, panel + col * kPanelRows + r * kLanes);
    }
  }
}

template <typename Decoder>
void decode_columns(const WeightTile& rows, int index, float* out) {
  int64_t col = walk_rows<Decoder, 1>(rows, index, [&](int64_t at, const FloatVector* weights) HWY_ATTR {
    hn::StoreU(Decoder::in_order(weights[0]), FloatTag(), out + at);
  });
  for (; col < rows.cols; col += kLanes) {
    store_first(decode_edge(rows, index, col), out + col, std::min<int64_t>(kLanes, rows.cols - col));
  }
}

template <int kRows, int kTokens>
struct DotVisitor {
  const WeightTile& rows;
  const float* const* x;
  float* out;
  template <typename Decoder>
  void visit() const {
    dot_all_rows<Decoder, kRows, kTokens>(rows, x, out);
  }
};

struct DecodePanelVisitor {
  const WeightTile& rows;
  int first;
  float* panel;
  template <typename Decoder>
  void visit() const {
    decode_rows<Decoder>(rows, first, panel);
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

void decode_panel_on(const WeightTile& rows, int first, float* panel) {
  with_decoder(rows, DecodePanelVisitor{rows, first, panel});
}

void decode_row_on(const WeightTile& rows, int index, float* out) {
  with_decoder(rows, DecodeRowVisitor{rows, index, out});
}

// A kernel for kTokens does the work of fewer: the last token is repeated.
template <int kRows, int kTokens>
void dot_tokens(const WeightTile& rows, const float* const* x, int tokens, float* out) {
  const float* padded[kTokens];
  for (int t = 0; t < kTokens; ++t) padded[t] = x[std::min(t, tokens - 1)];
  float all[kTokens * kTileRows];
  with_decoder(rows, DotVisitor<kRows, kTokens>{rows, padded, all});
  std::copy_n(all, tokens * kTileRows, out);
}

void dot_tile_on(const WeightTile& rows, const float* const* x, int tokens, float* out) {
  if constexpr (kLanes == 16) {
    if (tokens == 1) return with_decoder(rows, DotVisitor<8, 1>{rows, x, out});
    if (tokens == 2) return dot_tokens<4, 2>(rows, x, tokens, out);
    return dot_tokens<4, 4>(rows, x, tokens, out);
  } else {
    for (int t = 0; t < tokens; ++t) {
      with_decoder(rows, DotVisitor<4, 1>{rows, x + t, out + t * kTileRows});
    }
  }
}

template <int kTokens>
void multiply_tokens(const float* panel, int64_t cols, const float* const* x, float* out) {
  const FloatTag d;
  FloatVector sum[kTokens][kPanelRows];
  for (auto& of_token : sum) {
    for (FloatVector& value : of_token) value = hn::Zero(d);
  }
  int64_t col = 0;
  for (; col + kLanes <= cols; col += kLanes) {
    FloatVector weight[kPanelRows];
    for (int r = 0; r < kPanelRows; ++r) weight[r] = hn::Load(d, panel + col * kPanelRows + r * kLanes);
    for (int t = 0; t < kTokens; ++t) {
      const FloatVector activation = hn::LoadU(d, x[t] + col);
      for (int r = 0; r < kPanelRows; ++r) sum[t][r] = hn::MulAdd(weight[r], activation, sum[t][r]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    if (col < cols) {
      const FloatVector activation = load_first(x[t] + col, cols - col);
      for (int r = 0; r < kPanelRows; ++r) {
        const FloatVector weight = hn::Load(d, panel + col * kPanelRows + r * kLanes);
        sum[t][r] = hn::MulAdd(weight, activation, sum[t][r]);
      }
    }
    for (int r = 0; r < kPanelRows; ++r) out[t * kPanelRows + r] = sum_lanes(sum[t][r]);
  }
}

void multiply_panel_on(const float* panel, int64_t cols, const float* const* x, int tokens, float* out) {
  for_token_counts<kRegisterTokens>(0, tokens, [&](auto count, int token) HWY_ATTR {
    multiply_tokens<count>(panel, cols, x + token, out + token * kPanelRows);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
