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
  queue(source, std::move(changes));
}

void DeltaStaging::queue(int32_t source, SourceChanges changes) {
  place_[source] = static_cast<uint32_t>(queued_.size());
  queued_.push_back({source, std::move(changes)});
}

Status DeltaStaging::settle_aliases() {
  for (const int32_t alias : plan_.aliases) {
    if (!has(alias)) continue;
    const int32_t primary = plan_.sources[alias].alias_of;
    if (!has(primary)) {
      queue(primary, SourceChanges(changes_of(alias)));
      continue;
    }
    if (equal(changes_of(primary), changes_of(alias))) continue;
    const std::string &name = plan_.sources[alias].name, &tied = plan_.sources[primary].name;
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
  all.reserve(queued_.size() + plan_.aliases.size());
  for (const int32_t alias : plan_.aliases) {
    const Source& source = plan_.sources[alias];
    if (has(alias) || !has(source.alias_of)) continue;
    all.push_back(SourceChanges(changes_of(source.alias_of)).delta_of(source));
  }
  for (CheckedDelta& delta : queued_) {
    all.push_back(std::move(delta.changes).delta_of(plan_.sources[delta.source]));
  }
  queued_.clear();
  std::fill(place_.begin(), place_.end(), kNone);
  return all;
}

}  // namespace liveweight
