// What a model's kernel-format content hashes to.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "liveweight/live_model.h"

namespace liveweight {

struct ModelDigest {
  Digest model;                                         // of all names and digests below
  std::vector<std::pair<std::string, Digest>> tensors;  // by parameter, in the plan's order
};

// The digest of the version that the snapshot pins. Runs on all threads.
ModelDigest digest_of(const LiveModel& model, const Snapshot& snapshot);
Result<ModelDigest> digest_of(const LiveModel& model);

// The digest of the unsharded model, put together from all ranks' (ranks[i] is rank i); `whole` is the plan
// of one rank that holds all. Equal to the digest of that model's own load.
Result<ModelDigest> digest_of_ranks(const Plan& whole, std::span<const std::unique_ptr<LiveModel>> ranks);

}  // namespace liveweight
