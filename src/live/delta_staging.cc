#include "live/delta_staging.h"

#include <fmt/format.h>

#include <algorithm>

#include "live/delta_checks.h"
#include "live/parallel_jobs.h"

namespace liveweight {
namespace {

bool equal(const SourceChanges& a, const SourceChanges& b) {
  return std::equal(a.positions.begin(), a.positions.end(), b.positions.begin(), b.positions.end()) &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end());
}

}  // namespace

void DeltaStaging::add(int32_t source, SourceChanges changes) {
  std::lock_guard lock(mutex_);
  counts_.changed_elements += changes.positions.size();
  ++added_;
  changes_.emplace(source, std::move(changes));
}

Status DeltaStaging::settle_aliases() {
  for (const auto& [index, changes] : changes_) {
    const int32_t primary = plan_.sources[index].alias_of;
    if (primary < 0) continue;
    const auto [known, added] = changes_.emplace(primary, changes);
    if (added || equal(known->second, changes)) continue;
    const std::string &name = plan_.sources[index].name, &tied = plan_.sources[primary].name;
    return fail(ErrorCode::kDuplicateTensor,
                fmt::format("tensor {}: it is tied to {}, but their changes differ", name, tied),
                {name, tied});
  }
  return {};
}

Status DeltaStaging::run(const Mirror* mirror, bool has_old, const std::string& why) {
  mirror_ = mirror;
  has_old_ = has_old;
  why_ = why;
  const std::vector<Job> jobs = queue_jobs();
  const std::vector<size_t> ends = ends_of_shares(jobs);
  LW_TRY(run_jobs(static_cast<int64_t>(ends.size()), [&](int64_t i) {
    const size_t begin = i == 0 ? 0 : ends[static_cast<size_t>(i) - 1];
    return patch(std::span(jobs).subspan(begin, ends[static_cast<size_t>(i)] - begin));
  }));
  for (const auto& [key, doubtful] : doubtful_matrices_) LW_TRY(quantize_matrix(key, doubtful));
  return quantize_all_edges();
}

std::vector<TensorDelta> DeltaStaging::take() {
  std::vector<TensorDelta> all;
  all.reserve(changes_.size());
  for (size_t i = 0; i < plan_.sources.size(); ++i) {
    const Source& source = plan_.sources[i];
    if (source.alias_of < 0 || has(static_cast<int32_t>(i))) continue;
    const auto primary = changes_.find(source.alias_of);
    if (primary != changes_.end()) all.push_back(primary->second.delta_of(source));
  }
  for (const auto& [index, changes] : changes_) all.push_back(changes.delta_of(plan_.sources[index]));
  changes_.clear();
  return all;
}

}  // namespace liveweight
