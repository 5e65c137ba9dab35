#include "cli/ranks.h"

namespace liveweight::cli {

Result<Ranks> load_ranks(const ModelDirectory& directory, LoadOptions options,
                         const TensorParallelOptions& group) {
  Ranks ranks;
  const int64_t first = group.rank.value_or(0), last = group.rank.value_or(group.size - 1);
  for (int64_t rank = first; rank <= last; ++rank) {
    options.tensor_parallel = {group.size, rank};
    LW_ASSIGN(auto model, load_logged(directory, options));
    ranks.push_back(std::move(model));
  }
  return ranks;
}

Result<ModelDigest> digest_of(const Ranks& ranks, const ModelDirectory& directory,
                              const LoadOptions& options) {
  if (ranks.size() == 1) return liveweight::digest_of(*ranks.front());
  LW_ASSIGN(const auto whole, Plan::compile(directory.description, directory.catalog,
                                            {options.quantization, {}, options.mode}));
  return digest_of_ranks(*whole, ranks);
}

std::vector<LiveModel*> pointers_to(const Ranks& ranks) {
  std::vector<LiveModel*> pointers;
  for (const auto& rank : ranks) pointers.push_back(rank.get());
  return pointers;
}

}  // namespace liveweight::cli
