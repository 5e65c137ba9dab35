#include <fmt/format.h>

#include "liveweight/model.h"

namespace liveweight {

Result<std::pair<int64_t, int64_t>> rank_rows(const RowRange& range, int64_t ranks, int64_t rank,
                                              const std::string& tensor) {
  const int64_t items = range.rows / range.indivisible;
  if (range.indivisible == 1) return rank_cols(range.rows, ranks, rank);
  if (items % ranks == 0) {
    const int64_t rows = items / ranks * range.indivisible;
    return std::pair(rank * rows, (rank + 1) * rows);
  }
  if (range.may_replicate && ranks % items == 0) {
    const int64_t item = rank / (ranks / items);
    return std::pair(item * range.indivisible, (item + 1) * range.indivisible);
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("tensor {}: its {} heads cannot be shared out among {} tensor parallel ranks",
                          tensor, items, ranks),
              {tensor});
}

std::pair<int64_t, int64_t> rank_cols(int64_t cols, int64_t ranks, int64_t rank) {
  return {cols * rank / ranks, cols * (rank + 1) / ranks};
}

}  // namespace liveweight
