#include "live/delta_staging.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/seam.h"
#include "live/apply.h"
#include "live/delta_checks.h"
#include "live/delta_split.h"
#include "live/mirrored.h"
#include "live/parallel_jobs.h"
#include "quantize/element_batch.h"
#include "quantize/gathered_groups.h"
#include "quantize/patch.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr int64_t kBoxBytes = 512 << 10;  // of a matrix that is quantized whole

const KernelFormat& format_of(const Plan::Implementation& plan, const Target& target) {
  return *plan.parameters[target.parameter].format;
}

bool is_tensor_wide(const Plan::Implementation& plan, const Target& target) {
  return format_of(plan, target).scheme.granularity == Granularity::kTensor;
}

// Edge blocks that count the tensor's last element: the profile's, where there are any.
bool fills_edges(const Plan::Implementation& plan, const Source& source, const Target& target) {
  const Scheme& scheme = format_of(plan, target).scheme;
  return scheme.quantizes() && rule_for(scheme, source.dtype).fill_edges &&
         (source.rows % scheme.size != 0 || source.cols % scheme.size != 0);
}

bool equal(const TensorDelta& a, const TensorDelta& b) {
  return std::equal(a.positions.begin(), a.positions.end(), b.positions.begin(), b.positions.end()) &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end());
}

}  // namespace

// Rows of one queued tensor, for one of its targets.
struct DeltaStaging::Job {
  int32_t source;
  int32_t target;
  DeltaRows part;
};

// What one job on one source needs and notes, so that threads meet only at its end.
struct DeltaStaging::Notes {
  TensorView old;
  std::span<const uint32_t> positions;  // of its changes
  std::span<const std::byte> values;
  size_t begin = 0, end = 0;     // among them: where those of the job are
  std::vector<std::byte> bytes;  // of the box that is quantized
  uint64_t mirror_bytes = 0;
};

DeltaStaging::Notes DeltaStaging::notes_on(int32_t source) const {
  Notes notes;
  notes.old = old_of(source);
  const auto known = deltas_.find(source);
  if (known == deltas_.end()) return notes;
  notes.positions = known->second.positions;
  notes.values = known->second.values;
  notes.end = notes.positions.size();
  return notes;
}

// Boxes of one parameter, before the first byte of any of them is written: from then on the slots differ
// there, whatever fails.
void DeltaStaging::note_units(std::span<const UnitBox> boxes) {
  if (boxes.empty()) return;
  const UnitBox& any = boxes.front();
  std::lock_guard lock(mutex_);
  counts_.units += boxes.size();
  std::vector<UnitBox>& units = lag_of_(plan_.sources[any.source].targets[any.target].parameter).units;
  units.insert(units.end(), boxes.begin(), boxes.end());
}

void DeltaStaging::add_notes(const Notes& notes) {
  std::lock_guard lock(mutex_);
  counts_.mirror_bytes += notes.mirror_bytes;
}

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
  for (const auto& [index, delta] : deltas_) {
    const Source& source = plan_.sources[index];
    const int64_t last = source.rows * source.cols - 1;
    if (delta.positions.empty() || delta.positions.back() != last) continue;
    for (size_t t = 0; t < source.targets.size(); ++t) {
      if (fills_edges(plan_, source, source.targets[t])) {
        LW_TRY(quantize_edges(index, static_cast<int32_t>(t)));
      }
    }
  }
  return {};
}

std::vector<DeltaStaging::Job> DeltaStaging::queue_jobs() {
  std::vector<Job> jobs;
  for (const auto& [index, delta] : deltas_) {
    const Source& source = plan_.sources[index];
    for (size_t t = 0; t < source.targets.size(); ++t) {
      const Target& target = source.targets[t];
      const auto target_index = static_cast<int32_t>(t);
      for (const DeltaRows& part : split_rows(delta.positions, source.rows, source.cols, target.tile_rows)) {
        jobs.push_back({index, target_index, part});
      }
      SlotLag& lag = lag_of_(target.parameter);
      lag.changes.push_back({index, target_index, delta.positions, delta.owner});
      lag.elements += delta.positions.size();
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
  const KernelFormat& format = format_of(plan_, target);
  if (format.rows == 0 || format.cols == 0) return;
  const TensorDelta& delta = deltas_.at(job.source);
  std::byte* slot = slot_of_(target.parameter);
  const std::byte* old = has_old_ ? old_of(job.source).data : nullptr;
  const auto add_rows = [&](const Segment& segment, int64_t begin_row, int64_t end_row) {
    const size_t begin = first_from(delta.positions, job.part.begin, job.part.end, begin_row * source.cols);
    const size_t end = first_from(delta.positions, begin, job.part.end, end_row * source.cols);
    patches.push_back(
        {{&format, slot, target.matrix, segment},
         source.dtype,
         {delta.positions.subspan(begin, end - begin),
          delta.values.data() + begin * static_cast<size_t>(element_bytes(source)), source.cols, old},
         {}});
  };
  const int64_t tile = target.tile_rows, job_end = job.part.row + job.part.rows;
  int64_t covered = job.part.row;
  for (const Segment& segment : target.segments) {
    const int64_t begin = std::max(job.part.row, segment.source_row / tile * tile);
    const int64_t end = std::min(job_end, (segment.source_row + segment.rows + tile - 1) / tile * tile);
    if (begin >= end) continue;
    // A tensor-wide scale counts the elements that other ranks keep, too.
    if (is_tensor_wide(plan_, target)) add_rows(Segment{}, covered, begin);
    add_rows(segment, begin, end);
    covered = end;
  }
  if (is_tensor_wide(plan_, target)) add_rows(Segment{}, covered, job_end);
}

Status DeltaStaging::quantize_doubtful(const Job& job, std::span<ElementPatch> patches) {
  const bool groups = format_of(plan_, plan_.sources[job.source].targets[job.target]).scheme.granularity ==
                      Granularity::kGroup;
  std::vector<uint32_t> doubtful;
  for (ElementPatch& patch : patches) {
    if (groups) LW_TRY(quantize_groups(job, patch.region, patch.doubtful));
    doubtful.insert(doubtful.end(), patch.doubtful.begin(), patch.doubtful.end());
  }
  return doubtful.empty() ? Status{} : quantize_boxes(job, doubtful);
}

// Those of the doubtful elements whose groups the region holds whole; the others stay.
Status DeltaStaging::quantize_groups(const Job& job, const SlotRegion& region,
                                     std::vector<uint32_t>& doubtful) {
  if (doubtful.empty()) return {};
  const Source& source = plan_.sources[job.source];
  GatheredGroups gathered(region, source.dtype);
  const auto size = static_cast<uint32_t>(region.format->scheme.size);
  const auto cols = static_cast<uint32_t>(source.cols);
  for (uint32_t& position : doubtful) position -= position % cols % size;
  std::sort(doubtful.begin(), doubtful.end());
  doubtful.erase(std::unique(doubtful.begin(), doubtful.end()), doubtful.end());
  std::vector<UnitBox> boxes;
  std::erase_if(doubtful, [&](uint32_t position) {
    const UnitBox box{job.source, job.target, position / cols, 1, position % cols, size};
    if (!gathered.takes(box.row, box.col)) return false;
    boxes.push_back(box);
    return true;
  });
  note_units(boxes);
  Notes notes = notes_on(job.source);
  notes.begin = job.part.begin, notes.end = job.part.end;
  constexpr size_t kAhead = 16;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (notes.old.data && i + kAhead < boxes.size()) {
      const UnitBox& next = boxes[i + kAhead];
      __builtin_prefetch(notes.old.data + (next.row * source.cols + next.col) * element_bytes(source));
    }
    LW_TRY(read_patched(boxes[i], notes, gathered.add(boxes[i].row, boxes[i].col)));
  }
  add_notes(notes);
  if (const auto fault = gathered.finish()) return tl::unexpected(fault_error(source, *fault));
  return {};
}

Status DeltaStaging::quantize_boxes(const Job& job, const std::vector<uint32_t>& doubtful) {
  const Source& source = plan_.sources[job.source];
  const Target& target = source.targets[job.target];
  if (is_tensor_wide(plan_, target)) {
    std::lock_guard lock(mutex_);
    auto& elements = doubtful_matrices_[{target.parameter, target.matrix}];
    for (const uint32_t position : doubtful) {
      elements.push_back({job.source, job.target, position / source.cols, 1, position % source.cols, 1});
    }
    return {};
  }
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (const uint32_t position : doubtful) {
    const int64_t row = position / source.cols, col = position % source.cols;
    const std::pair tile{row / target.tile_rows * target.tile_rows,
                         col / target.tile_cols * target.tile_cols};
    if (tiles.empty() || tiles.back() != tile) tiles.push_back(tile);
  }
  std::sort(tiles.begin(), tiles.end());
  tiles.erase(std::unique(tiles.begin(), tiles.end()), tiles.end());
  std::vector<UnitBox> boxes;
  for (const auto& [row, col] : tiles) {
    boxes.push_back({job.source, job.target, row, std::min(target.tile_rows, source.rows - row), col,
                     std::min(target.tile_cols, source.cols - col)});
  }
  note_units(boxes);
  Notes notes = notes_on(job.source);
  notes.begin = job.part.begin, notes.end = job.part.end;
  for (const UnitBox& box : boxes) LW_TRY(quantize_box(box, 0, notes));
  add_notes(notes);
  return {};
}

TensorView DeltaStaging::old_of(int32_t index) const {
  if (!mirror_) return {};
  const Source& source = plan_.sources[index];
  const TensorView view = mirrored(plan_, *mirror_, index);
  return view.dtype == source.dtype && view.shape == source.shape ? view : TensorView{};
}

Status DeltaStaging::read_patched(const UnitBox& box, Notes& notes) const {
  const auto each = static_cast<size_t>(element_bytes(plan_.sources[box.source]));
  notes.bytes.resize(static_cast<size_t>(box.rows * box.cols) * each);
  return read_patched(box, notes, notes.bytes.data());
}

Status DeltaStaging::read_patched(const UnitBox& box, Notes& notes, std::byte* to) const {
  const Source& source = plan_.sources[box.source];
  if (!notes.old.data) {
    return fail(ErrorCode::kFailedState,
                fmt::format("tensor {}: the change at {} may move its unit's scale, which needs the unit's "
                            "other elements: {}",
                            source.name, position_text(source, box.row, box.col), why_),
                {source.name});
  }
  const auto each = static_cast<size_t>(element_bytes(source));
  const auto row_bytes = static_cast<size_t>(box.cols) * each;
  notes.mirror_bytes += row_bytes * static_cast<size_t>(box.rows);
  for (int64_t r = 0; r < box.rows; ++r, to += row_bytes) {
    const int64_t first = (box.row + r) * source.cols + box.col;
    std::memcpy(to, notes.old.data + static_cast<size_t>(first) * each, row_bytes);
    for (size_t i = first_from(notes.positions, notes.begin, notes.end, first);
         i < notes.end && notes.positions[i] < first + box.cols; ++i) {
      std::memcpy(to + (notes.positions[i] - static_cast<size_t>(first)) * each,
                  notes.values.data() + i * each, each);
    }
  }
  return {};
}

Result<float> DeltaStaging::last_element(int32_t index) const {
  const Source& source = plan_.sources[index];
  Notes notes = notes_on(index);
  LW_TRY(read_patched({index, 0, source.rows - 1, 1, source.cols - 1, 1}, notes));
  return load_high_precision(source.dtype, notes.bytes.data(), 0);
}

Status DeltaStaging::quantize_box(const UnitBox& box, float amax, Notes& notes) {
  const Source& source = plan_.sources[box.source];
  const Target& target = source.targets[box.target];
  LW_TRY(read_patched(box, notes));
  TensorUnit unit{amax, 0};
  if (fills_edges(plan_, source, target)) {
    LW_ASSIGN(unit.last_element, last_element(box.source));
  }
  const Piece piece{box.row, box.rows, box.col, box.cols, notes.bytes.data(), box.cols};
  return apply_piece(plan_, source, target, piece, slot_of_(target.parameter), unit);
}

Status DeltaStaging::quantize_all(const std::vector<UnitBox>& boxes, float amax) {
  note_units(boxes);
  return run_jobs(static_cast<int64_t>(boxes.size()), [&](int64_t i) -> Status {
    Notes notes = notes_on(boxes[static_cast<size_t>(i)].source);
    LW_TRY(quantize_box(boxes[static_cast<size_t>(i)], amax, notes));
    add_notes(notes);
    return {};
  });
}

std::vector<UnitBox> DeltaStaging::whole_boxes(const Key& key) const {
  std::vector<UnitBox> boxes;
  for (const int32_t index : plan_.parameter_sources[key.first]) {
    const Source& source = plan_.sources[index];
    const int64_t step =
        std::max<int64_t>(1, kBoxBytes / std::max<int64_t>(1, source.cols * element_bytes(source)));
    for (size_t t = 0; t < source.targets.size(); ++t) {
      const Target& target = source.targets[t];
      if (target.parameter != key.first || target.matrix != key.second) continue;
      for (int64_t row = 0; row < source.rows; row += step) {
        boxes.push_back(
            {index, static_cast<int32_t>(t), row, std::min(step, source.rows - row), 0, source.cols});
      }
    }
  }
  return boxes;
}

// A matrix of one scale, whose largest magnitude may be another now.
Status DeltaStaging::quantize_matrix(const Key& key, const std::vector<UnitBox>& doubtful) {
  const KernelFormat& format = *plan_.parameters[key.first].format;
  const std::vector<UnitBox> boxes = whole_boxes(key);
  std::vector<float> maxima(boxes.size());
  LW_TRY(run_jobs(static_cast<int64_t>(boxes.size()), [&](int64_t i) -> Status {
    const UnitBox& box = boxes[static_cast<size_t>(i)];
    Notes notes = notes_on(box.source);
    LW_TRY(read_patched(box, notes));
    const Piece piece{box.row, box.rows, box.col, box.cols, notes.bytes.data(), box.cols};
    LW_ASSIGN(maxima[static_cast<size_t>(i)], piece_maximum(plan_.sources[box.source], piece));
    add_notes(notes);
    return {};
  }));
  const float amax = *std::max_element(maxima.begin(), maxima.end());
  const ElementRule rule(format.scheme, format.source_dtype);
  const std::byte* scale = slot_of_(key.first) + row_offset(format.scale, key.second, 0);
  const bool moves = rule.scale_of(amax) != load_high_precision(format.scale.dtype, scale, 0);
  const uint64_t before = counts_.units;
  LW_TRY(quantize_all(moves ? boxes : doubtful, amax));
  counts_.units = before + static_cast<uint64_t>(moves);
  return {};
}

Status DeltaStaging::quantize_edges(int32_t index, int32_t target_index) {
  const Source& source = plan_.sources[index];
  const Target& target = source.targets[target_index];
  std::vector<UnitBox> boxes;
  for (int64_t row = 0; row < source.rows; row += target.tile_rows) {
    for (int64_t col = 0; col < source.cols; col += target.tile_cols) {
      const UnitBox box{index, target_index,
                        row,   std::min(target.tile_rows, source.rows - row),
                        col,   std::min(target.tile_cols, source.cols - col)};
      if (box.rows < target.tile_rows || box.cols < target.tile_cols) boxes.push_back(box);
    }
  }
  return quantize_all(boxes, 0);
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
