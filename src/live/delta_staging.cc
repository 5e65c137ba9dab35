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

void DeltaStaging::add(std::span<CheckedDelta> checked) {
  std::lock_guard lock(mutex_);
  queued_.reserve(queued_.size() + checked.size());
  added_ += std::ssize(checked);
  for (auto& [source, changes] : checked) {
    counts_.changed_elements += changes.positions.size();
    queue(source, std::move(changes));
  }
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
  // One thread makes what the mirror will be told while the others wake up.
  LW_TRY(run_jobs(static_cast<int64_t>(ends.size()) + 1, [&](int64_t job) -> Status {
    const auto i = static_cast<size_t>(job);
    if (i == 0) return note_changes();
    const size_t begin = i == 1 ? 0 : ends[i - 2];
    return patch(std::span(jobs).subspan(begin, ends[i - 1] - begin));
  }));
  for (const auto& [key, doubtful] : doubtful_matrices_) LW_TRY(quantize_matrix(key, doubtful));
  return quantize_all_edges();
}

// Under every name that the mirror has.
Status DeltaStaging::note_changes() {
  if (!mirror_) return {};
  noted_.reserve(queued_.size() + plan_.aliases.size());
  const auto note = [&](int32_t index, const SourceChanges& changes) {
    const Source& source = plan_.sources[index];
    if (mirror_->contains(source.name)) noted_.push_back(changes.delta_of(source));
  };
  for (const int32_t alias : plan_.aliases) {
    const int32_t primary = plan_.sources[alias].alias_of;
    if (!has(alias) && has(primary)) note(alias, changes_of(primary));
  }
  for (const auto& [index, changes] : queued_) note(index, changes);
  return {};
}

}  // namespace liveweight
