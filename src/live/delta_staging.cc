#include "live/delta_staging.h"

#include <fmt/format.h>

#include <algorithm>

#include "live/delta_checks.h"
#include "live/parallel_jobs.h"

namespace liveweight {
namespace {

bool equal(const TensorDelta& a, const TensorDelta& b) {
  return std::equal(a.positions.begin(), a.positions.end(), b.positions.begin(), b.positions.end()) &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end());
}

}  // namespace

Status DeltaStaging::add(int32_t index, const TensorDelta& given) {
  const Source& source = plan_.sources[index];
  LW_TRY(check_facts(source, given));
  TensorDelta delta = owned(given, source);
  LW_TRY(check_changes(source, delta));
  std::lock_guard lock(mutex_);
  counts_.changed_elements += delta.positions.size();
  ++added_;
  deltas_.emplace(index, std::move(delta));
  return {};
}

Status DeltaStaging::settle_aliases() {
  for (const auto& [index, delta] : deltas_) {
    const int32_t primary = plan_.sources[index].alias_of;
    if (primary < 0) continue;
    const auto [known, added] = deltas_.emplace(primary, delta);
    if (added) {
      known->second.name = plan_.sources[primary].name;
      continue;
    }
    if (equal(known->second, delta)) continue;
    const std::string& name = plan_.sources[index].name;
    return fail(
        ErrorCode::kDuplicateTensor,
        fmt::format("tensor {}: it is tied to {}, but their changes differ", name, known->second.name),
        {name, known->second.name});
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
  all.reserve(deltas_.size());
  for (size_t i = 0; i < plan_.sources.size(); ++i) {
    const auto primary = deltas_.find(plan_.sources[i].alias_of);
    if (primary == deltas_.end() || has(static_cast<int32_t>(i))) continue;
    all.push_back(primary->second);
    all.back().name = plan_.sources[i].name;
  }
  for (auto& [index, delta] : deltas_) all.push_back(std::move(delta));
  deltas_.clear();
  return all;
}

}  // namespace liveweight
