// The part of staging deltas that quantizes whole units again, from the mirror.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "live/apply.h"
#include "live/delta_split.h"
#include "live/delta_staging.h"
#include "live/mirrored.h"
#include "live/parallel_jobs.h"
#include "quantize/element_batch.h"
#include "quantize/gathered_groups.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr int64_t kBoxBytes = 512 << 10;  // of a matrix that is quantized whole

}  // namespace

TensorView DeltaStaging::old_of(int32_t index) const {
  if (!mirror_) return {};
  const Source& source = plan_.sources[index];
  const TensorView view = mirrored(plan_, *mirror_, index);
  return view.dtype == source.dtype && view.shape == source.shape ? view : TensorView{};
}

DeltaStaging::Notes DeltaStaging::notes_on(int32_t source) const {
  Notes notes;
  notes.old = old_of(source);
  if (!has(source)) return notes;
  notes.positions = changes_of(source).positions;
  notes.values = changes_of(source).values;
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

// For the unit of that changed element.
Status DeltaStaging::require_mirror(int32_t index, uint32_t position) const {
  if (mirror_) return {};
  const Source& source = plan_.sources[index];
  return fail(
      ErrorCode::kFailedState,
      fmt::format("tensor {}: the change at {} may move its unit's scale, which needs the unit's other "
                  "elements: {}",
                  source.name, position_text(source, position / source.cols, position % source.cols), why_),
      {source.name});
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
      const std::byte* group = notes.old.data + (next.row * source.cols + next.col) * element_bytes(source);
      __builtin_prefetch(group);
      __builtin_prefetch(group + size * static_cast<size_t>(element_bytes(source)) - 1);
    }
    // The boxes ascend, and so do the changes in them.
    notes.begin =
        first_from(notes.positions, notes.begin, notes.end, boxes[i].row * source.cols + boxes[i].col);
    LW_TRY(read_patched(boxes[i], notes, gathered.add(boxes[i].row, boxes[i].col)));
  }
  add_notes(notes);
  if (const auto fault = gathered.finish()) return tl::unexpected(fault_error(source, *fault));
  return {};
}

Status DeltaStaging::quantize_boxes(const Job& job, const std::vector<uint32_t>& doubtful) {
  const Source& source = plan_.sources[job.source];
  const Target& target = source.targets[job.target];
  if (is_tensor_wide(target)) {
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

Status DeltaStaging::read_patched(const UnitBox& box, Notes& notes) const {
  const auto each = static_cast<size_t>(element_bytes(plan_.sources[box.source]));
  notes.bytes.resize(static_cast<size_t>(box.rows * box.cols) * each);
  return read_patched(box, notes, notes.bytes.data());
}

Status DeltaStaging::read_patched(const UnitBox& box, Notes& notes, std::byte* to) const {
  const Source& source = plan_.sources[box.source];
  if (!notes.old.data) {
    return fail(
        ErrorCode::kFailedState,
        fmt::format("tensor {}: a unit's scale may move, which needs the unit's other elements, but the "
                    "mirror does not hold them",
                    source.name),
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
  if (fills_edges(source, target)) {
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

// Edge blocks that count the tensor's last element: the profile's, where there are any.
bool DeltaStaging::fills_edges(const Source& source, const Target& target) const {
  const Scheme& scheme = format_of(target).scheme;
  return scheme.quantizes() && rule_for(scheme, source.dtype).fill_edges &&
         (source.rows % scheme.size != 0 || source.cols % scheme.size != 0);
}

Status DeltaStaging::quantize_all_edges() {
  for (const auto& [index, changes] : queued_) {
    const Source& source = plan_.sources[index];
    const int64_t last = source.rows * source.cols - 1;
    if (changes.positions.empty() || changes.positions.back() != last) continue;
    for (size_t t = 0; t < source.targets.size(); ++t) {
      if (fills_edges(source, source.targets[t])) {
        LW_TRY(require_mirror(index, static_cast<uint32_t>(last)));
        LW_TRY(quantize_edges(index, static_cast<int32_t>(t)));
      }
    }
  }
  return {};
}

}  // namespace liveweight
