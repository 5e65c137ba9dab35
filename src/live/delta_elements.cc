// The part of staging deltas that writes single elements, on all threads.
#include <algorithm>

#include "base/seam.h"
#include "base/threads.h"
#include "live/delta_split.h"
#include "live/delta_staging.h"
#include "live/mirrored.h"

namespace liveweight {

namespace {

// Of so many rows: those of whole tiles. By a division of 32 bits wherever that can be, as it takes a third
// of the time.
int64_t whole_tiles(int64_t rows, const Target& target) {
  if (rows >> 32 != 0) return rows / target.tile_rows * target.tile_rows;
  return static_cast<uint32_t>(rows) / static_cast<uint32_t>(target.tile_rows) * target.tile_rows;
}

}  // namespace

std::vector<DeltaStaging::Job> DeltaStaging::queue_jobs() {
  std::vector<Job> jobs;
  jobs.reserve(queued_.size());
  for (const auto& [index, changes] : queued_) {
    if (changes.positions.empty()) continue;
    const Source& source = plan_.sources[index];
    Job job{index, 0, &changes, {}};
    for (; job.target < static_cast<int32_t>(source.targets.size()); ++job.target) {
      const Target& target = source.targets[job.target];
      split_rows(changes.positions, source.rows, source.cols, target.tile_rows, [&](const DeltaRows& part) {
        job.part = part;
        jobs.push_back(job);
      });
      SlotLag& lag = lag_of_(target.parameter);
      lag.changes.push_back({index, job.target, changes.positions, changes.owner});
      lag.elements += changes.positions.size();
    }
  }
  return jobs;
}

// Small jobs one after the other by one thread, so that memory works for the next while one is encoded.
std::vector<size_t> DeltaStaging::ends_of_shares(const std::vector<Job>& jobs) {
  constexpr size_t kShortest = 1 << 9, kLongest = 1 << 14, kPerThread = 4;
  size_t all = 0;
  for (const Job& job : jobs) all += job.part.end - job.part.begin;
  const auto threads = static_cast<size_t>(ThreadPool::shared().threads());
  const size_t share = std::clamp(all / (threads * kPerThread), kShortest, kLongest);
  std::vector<size_t> ends;
  size_t elements = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    elements += jobs[i].part.end - jobs[i].part.begin;
    if (elements < share && i + 1 < jobs.size()) continue;
    ends.push_back(i + 1);
    elements = 0;
  }
  return ends;
}

Status DeltaStaging::patch(std::span<const Job> jobs) {
  std::vector<ElementPatch> patches;
  std::vector<size_t> ends;  // among them, of each job's
  patches.reserve(jobs.size());
  ends.reserve(jobs.size());
  for (const Job& job : jobs) {
    LW_TRY(reach(Step::kQuantize));
    add_patches(job, patches);
    ends.push_back(patches.size());
  }
  patch_elements(patches);
  size_t begin = 0;
  for (size_t i = 0; i < jobs.size(); begin = ends[i++]) {
    LW_TRY(quantize_doubtful(jobs[i], std::span(patches).subspan(begin, ends[i] - begin)));
  }
  return {};
}

// Of the segments that share a unit with the job's rows.
void DeltaStaging::add_patches(const Job& job, std::vector<ElementPatch>& patches) const {
  const Source& source = plan_.sources[job.source];
  const Target& target = source.targets[job.target];
  const KernelFormat& format = format_of(target);
  if (format.rows == 0 || format.cols == 0) return;
  const SourceChanges& changes = *job.changes;
  std::byte* slot = slot_of_(target.parameter);
  const std::byte* old = has_old_ && format.scheme.quantizes() ? old_of(job.source).data : nullptr;
  const int64_t job_end = job.part.row + job.part.rows;
  const auto first_of_row = [&](int64_t row) {
    if (row == job.part.row) return job.part.begin;
    if (row == job_end) return job.part.end;
    return first_from(changes.positions, job.part.begin, job.part.end, row * source.cols);
  };
  const auto add_rows = [&](const Segment& segment, int64_t begin_row, int64_t end_row) {
    const size_t begin = first_of_row(begin_row), end = first_of_row(end_row);
    patches.push_back(
        {{&format, slot, target.matrix, segment},
         source.dtype,
         {changes.positions.subspan(begin, end - begin),
          changes.values.data() + begin * static_cast<size_t>(element_bytes(source)), source.cols, old},
         {}});
  };
  int64_t covered = job.part.row;
  for (const Segment& segment : target.segments) {
    const int64_t begin = std::max(job.part.row, whole_tiles(segment.source_row, target));
    const int64_t end =
        std::min(job_end, whole_tiles(segment.source_row + segment.rows + target.tile_rows - 1, target));
    if (begin >= end) continue;
    // A tensor-wide scale counts the elements that other ranks keep, too.
    if (is_tensor_wide(target)) add_rows(Segment{}, covered, begin);
    add_rows(segment, begin, end);
    covered = end;
  }
  if (is_tensor_wide(target)) add_rows(Segment{}, covered, job_end);
}

Status DeltaStaging::quantize_doubtful(const Job& job, std::span<ElementPatch> patches) {
  const bool groups =
      format_of(plan_.sources[job.source].targets[job.target]).scheme.granularity == Granularity::kGroup;
  std::vector<uint32_t> doubtful;
  for (ElementPatch& patch : patches) {
    if (!patch.doubtful.empty()) LW_TRY(require_mirror(job.source, patch.doubtful.front()));
    if (groups) LW_TRY(quantize_groups(job, patch.region, patch.doubtful));
    doubtful.insert(doubtful.end(), patch.doubtful.begin(), patch.doubtful.end());
  }
  return doubtful.empty() ? Status{} : quantize_boxes(job, doubtful);
}

}  // namespace liveweight
