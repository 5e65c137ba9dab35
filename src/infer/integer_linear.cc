#include "infer/integer_linear.h"

#include <algorithm>

#include "infer/group_kernels.h"

namespace liveweight {
namespace {

constexpr int64_t kFewTokens = 8;  // that read rows where they lie
constexpr int64_t kStreamedBytes = 64 << 10;
constexpr int64_t kPackedBytes = 128 << 10;  // that stay in the second-level cache while all tokens pass by
constexpr int64_t kMostRows = 512;           // of a block

struct Product {
  const WeightView& weight;
  const LinearArguments& to;
  IntegerRows x;

  int64_t cols() const { return weight.format->cols; }
  int64_t panel_bytes() const { return kIntegerRows * x.stride; }
};

// Calls body(token, tokens) for groups of nearly equal size: a last one of a single token would waste most of
// what it loads.
template <typename Body>
void for_token_groups(int64_t tokens, const Body& body) {
  const int64_t groups = (tokens + kIntegerTokens - 1) / kIntegerTokens;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t token = i * tokens / groups;
    body(token, static_cast<int>((i + 1) * tokens / groups - token));
  }
}

// Of kIntegerRows rows from `row` on; those from `end` on are not stored.
void store(const Product& product, const float* row_scales, int64_t row, int64_t end, int64_t token,
           int tokens, const int32_t* sums) {
  const int64_t rows = std::min<int64_t>(kIntegerRows, end - row);
  for (int t = 0; t < tokens; ++t) {
    const float scale = product.x.scales[token + t];
    float values[kIntegerRows];
    for (int r = 0; r < kIntegerRows; ++r) {
      values[r] = static_cast<float>(sums[t * kIntegerRows + r]) * row_scales[r] * scale;
    }
    store_products(product.to, token + t, row, rows, values);
  }
}

void scales_of(const WeightTile& tile, float* scales) {
  for (int r = 0; r < kTileRows; ++r) scales[r] = scale_of(tile, r, 0);
}

void multiply_rows(const Product& product, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kTileRows) {
    const WeightTile tile = tile_of(product.weight, row);
    float scales[kTileRows];
    scales_of(tile, scales);
    for (int first = 0; first < kTileRows && row + first < end; first += kIntegerRows) {
      for_token_groups(product.to.tokens, [&](int64_t token, int tokens) {
        int32_t sums[kIntegerTokens * kIntegerRows];
        multiply_integer_tile(tile, first, product.x, token, tokens, sums);
        store(product, scales + first, row + first, end, token, tokens, sums);
      });
    }
  }
}

void multiply_packed(const Product& product, int64_t begin, int64_t end, std::byte* panels) {
  float scales[kMostRows];
  for (int64_t row = begin; row < end; row += kTileRows) {
    const WeightTile tile = tile_of(product.weight, row);
    scales_of(tile, scales + (row - begin));
    for (int first = 0; first < kTileRows; first += kIntegerRows) {
      const int64_t panel = (row + first - begin) / kIntegerRows;
      pack_integer_panel(tile, first, product.x, panels + panel * product.panel_bytes());
    }
  }
  for_token_groups(product.to.tokens, [&](int64_t token, int tokens) {
    for (int64_t row = begin; row < end; row += kIntegerRows) {
      int32_t sums[kIntegerTokens * kIntegerRows];
      multiply_integer_panel(panels + (row - begin) / kIntegerRows * product.panel_bytes(), product.cols(),
                             product.x, token, tokens, sums);
      store(product, scales + (row - begin), row, end, token, tokens, sums);
    }
  });
}

// Of kGroupRows rows from `row` on; those from `end` on are not stored.
void store_groups(const Product& product, int64_t row, int64_t end, int64_t token, int tokens,
                  float* products) {
  for (int t = 0; t < tokens; ++t) {
    float* values = products + t * kGroupRows;
    for (int64_t r = 0; r < kGroupRows; ++r) values[r] *= product.x.scales[token + t];
    store_products(product.to, token + t, row, std::min(kGroupRows, end - row), values);
  }
}

void multiply_group_rows(const Product& product, int64_t begin, int64_t end, std::byte* panel) {
  const auto tokens = static_cast<int>(product.to.tokens);
  for (int64_t row = begin; row < end; row += kGroupRows) {
    float products[kFewTokens * kGroupRows];
    multiply_group_rows(product.weight, row, product.x, tokens, panel, products);
    store_groups(product, row, end, 0, tokens, products);
  }
}

void multiply_packed_groups(const Product& product, int64_t begin, int64_t end, std::byte* panels) {
  const int64_t cols = product.cols(), group = product.weight.format->scheme.size;
  const auto panel_of = [&](int64_t row) {
    return panels + (row - begin) / kGroupRows * group_panel_bytes(cols, group);
  };
  for (int64_t row = begin; row < end; row += kGroupRows) {
    pack_group_panel(product.weight, row, panel_of(row));
  }
  for_token_groups(product.to.tokens, [&](int64_t token, int tokens) {
    for (int64_t row = begin; row < end; row += kGroupRows) {
      float products[kIntegerTokens * kGroupRows];
      multiply_group_panel(panel_of(row), cols, group, product.x, token, tokens, products);
      store_groups(product, row, end, token, tokens, products);
    }
  });
}

int64_t rows_of_block_of_groups(const Product& product) {
  const int64_t panel = group_panel_bytes(product.cols(), product.weight.format->scheme.size);
  return std::clamp<int64_t>(kPackedBytes / std::max<int64_t>(panel, 1) * kGroupRows, kGroupRows, kMostRows);
}

int64_t rows_of_block(const Product& product, int64_t bytes) {
  return std::clamp<int64_t>(bytes / product.x.stride / kTileRows * kTileRows, kTileRows, kMostRows);
}

}  // namespace

void IntegerWorkspace::resize(int64_t tokens, int64_t widest_cols) {
  codes_.resize(static_cast<size_t>(tokens * integer_stride(widest_cols)));
  scales_.resize(static_cast<size_t>(tokens));
  sums_.resize(static_cast<size_t>(tokens));
  split_.resize(codes_.size());
  group_zeros_.resize(codes_.size() / kGroupStep);
}

IntegerRows IntegerWorkspace::rows(int64_t cols) {
  return {codes_.data(),        scales_.data(), sums_.data(),       vnni_,
          integer_stride(cols), split_.data(),  group_zeros_.data()};
}

bool takes_integers(const KernelFormat& format) {
  const Scheme& scheme = format.scheme;
  if (format.zero_point.bytes != 0 || format.cols > kMostIntegerCols) return false;
  if (scheme.granularity == Granularity::kGroup) {
    const bool whole_groups = format.source_col % scheme.size == 0;
    return scheme.element == Element::kInt4 && whole_groups && scheme.size % kGroupStep == 0 &&
           format.cols % kGroupStep == 0;
  }
  return scheme.element == Element::kInt8 && scheme.granularity != Granularity::kBlock;
}

void integer_linear(const WeightView& weight, const LinearArguments& arguments, Compute& compute) {
  const int64_t cols = weight.format->cols;
  const int64_t rows = weight.format->rows;
  const Scheme& scheme = weight.format->scheme;
  const bool groups = scheme.granularity == Granularity::kGroup;
  const Product product{weight, arguments, arguments.integers->rows(cols)};
  compute.for_each(arguments.tokens, arguments.tokens * cols, [&](int, int64_t token) {
    quantize_token(arguments.x + token * cols, cols, token, product.x);
    if (groups) split_token(cols, scheme.size, token, product.x);
  });
  const bool few = arguments.tokens <= kFewTokens;
  const int64_t block =
      groups ? rows_of_block_of_groups(product) : rows_of_block(product, few ? kStreamedBytes : kPackedBytes);
  const int64_t blocks = (rows + block - 1) / block;
  compute.for_each(blocks, rows * cols * arguments.tokens, [&](int worker, int64_t i) {
    const int64_t begin = i * block;
    const int64_t end = std::min(begin + block, rows);
    auto* panels = reinterpret_cast<std::byte*>(compute.scratch(worker));
    if (groups && few) return multiply_group_rows(product, begin, end, panels);
    if (groups) return multiply_packed_groups(product, begin, end, panels);
    if (few) return multiply_rows(product, begin, end);
    multiply_packed(product, begin, end, panels);
  });
}

}  // namespace liveweight
