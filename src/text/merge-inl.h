// The merge loop of bpe.h: a linked list of symbols and a queue of candidates, so that a long text costs n
// log n.
#pragma once

#include <queue>
#include <tuple>
#include <vector>

#include "text/bpe.h"

namespace liveweight {

template <typename RankOf>
std::vector<int32_t> merge_symbols(std::vector<int32_t> symbols, const RankOf& rank_of) {
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<int32_t> next(symbols.size()), previous(symbols.size());
  for (int32_t i = 0; i < count; ++i) next[i] = i + 1 < count ? i + 1 : -1, previous[i] = i - 1;
  struct Entry {
    float rank;
    int32_t left, id, left_symbol, right_symbol;
    bool operator>(const Entry& other) const {
      return std::tie(rank, left) > std::tie(other.rank, other.left);
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || next[left] < 0) return;
    const auto candidate = rank_of(symbols[left], symbols[next[left]]);
    if (candidate) queue.push({candidate->rank, left, candidate->id, symbols[left], symbols[next[left]]});
  };
  for (int32_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Entry best = queue.top();
    queue.pop();
    const int32_t left = best.left;
    if (symbols[left] != best.left_symbol || next[left] < 0 || symbols[next[left]] != best.right_symbol)
      continue;
    const int32_t right = next[left];
    symbols[left] = best.id;
    symbols[right] = -1;
    next[left] = next[right];
    if (next[right] >= 0) previous[next[right]] = left;
    consider(previous[left]);
    consider(left);
  }
  std::vector<int32_t> merged;
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = next[i]) merged.push_back(symbols[i]);
  return merged;
}

}  // namespace liveweight
