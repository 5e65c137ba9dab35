// The ranks of a model that one process holds.
#pragma once

#include <memory>
#include <vector>

#include "cli/command.h"
#include "liveweight/digest.h"

namespace liveweight::cli {

using Ranks = std::vector<std::unique_ptr<LiveModel>>;

// That one of --tp-rank, or without it all of --tp-size.
Result<Ranks> load_ranks(const ModelDirectory& directory, LoadOptions options,
                         const TensorParallelOptions& group);

// Of the one that is there, or of the whole model, put together from all.
Result<ModelDigest> digest_of(const Ranks& ranks, const ModelDirectory& directory,
                              const LoadOptions& options);

// What the library takes.
std::vector<LiveModel*> pointers_to(const Ranks& ranks);

}  // namespace liveweight::cli
