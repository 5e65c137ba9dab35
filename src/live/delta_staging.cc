#include "live/delta_staging.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "live/apply.h"
#include "live/delta_split.h"
#include "live/parallel_jobs.h"
#include "quantize/patch.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

constexpr size_t kCheckElements = size_t{1} << 16;  // of one job
constexpr int64_t kBoxBytes = 512 << 10;            // of a matrix that is quantized whole

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

Status check_facts(const Source& source, const TensorDelta& delta) {
  for (const Target& target : source.targets) {
    if (target.kind == TargetKind::kQuantize) continue;
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("tensor {}: it is quantized already in the checkpoint; deltas go into weights that "
                    "are quantized here",
                    source.name),
        {source.name});
  }
  if (delta.dtype != source.dtype) {
    return fail(ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected changes of {}, got {}", source.name, to_string(source.dtype),
                            to_string(delta.dtype)),
                {source.name});
  }
  if (delta.shape != source.shape) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected changes of shape {}, got {}", source.name,
                            to_string(source.shape), to_string(delta.shape)),
                {source.name});
  }
  const auto expected = delta.positions.size() * static_cast<size_t>(element_bytes(source));
  if (delta.values.size() == expected) return {};
  return fail(ErrorCode::kWrongShape,
              fmt::format("tensor {}: expected {} bytes of values for {} positions, got {}", source.name,
                          expected, delta.positions.size(), delta.values.size()),
              {source.name});
}

Status check_positions(const Source& source, std::span<const uint32_t> positions, size_t begin, size_t end) {
  const int64_t size = source.rows * source.cols;
  for (size_t i = begin; i < end; ++i) {
    if (positions[i] >= size) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("tensor {}: index {} is out of range of its {} elements", source.name,
                              positions[i], size),
                  {source.name});
    }
    if (i == 0 || positions[i] > positions[i - 1]) continue;
    const bool twice = positions[i] == positions[i - 1];
    return fail(twice ? ErrorCode::kDuplicateTensor : ErrorCode::kInvalidArgument,
                twice ? fmt::format("tensor {}: position {} comes twice", source.name, positions[i])
                      : fmt::format("tensor {}: positions must ascend, but {} follows {}", source.name,
                                    positions[i], positions[i - 1]),
                {source.name});
  }
  return {};
}

Status check_values(const Source& source, const TensorDelta& delta, size_t begin, size_t end) {
  const auto count = static_cast<int64_t>(end - begin);
  const auto each = static_cast<size_t>(element_bytes(source));
  const auto result =
      absolute_maximum({source.dtype, delta.values.data() + begin * each, count, 0, 1, 0, count});
  if (!result.fault) return {};
  const int64_t position = delta.positions[begin + static_cast<size_t>(result.fault->col)];
  return fail(ErrorCode::kNonFinite,
              fmt::format("tensor {}: expected finite values, got {} at {}", source.name, result.fault->value,
                          position_text(source, position / source.cols, position % source.cols)),
              {source.name});
}

// Kept alive by `owner`, and its values aligned.
TensorDelta owned(const TensorDelta& delta, size_t each) {
  const bool aligned = reinterpret_cast<uintptr_t>(delta.values.data()) % each == 0;
  if (delta.owner && aligned) return delta;
  struct Copy {
    std::vector<uint32_t> positions;
    std::vector<std::byte> values;
  };
  const auto copy = std::make_shared<Copy>(
      Copy{{delta.positions.begin(), delta.positions.end()}, {delta.values.begin(), delta.values.end()}});
  return {delta.name, delta.dtype, delta.shape, copy->positions, copy->values, copy};
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

Status DeltaStaging::add(int32_t index, const TensorDelta& given) {
  const Source& source = plan_.sources[index];
  LW_TRY(check_facts(source, given));
  TensorDelta delta = owned(given, static_cast<size_t>(element_bytes(source)));
  delta.name = source.name;
  const size_t count = delta.positions.size();
  LW_TRY(
      run_jobs(static_cast<int64_t>((count + kCheckElements - 1) / kCheckElements), [&](int64_t i) -> Status {
        const size_t begin = static_cast<size_t>(i) * kCheckElements,
                     end = std::min(begin + kCheckElements, count);
        LW_TRY(check_positions(source, delta.positions, begin, end));
        return check_values(source, delta, begin, end);
      }));
  std::lock_guard lock(mutex_);
  counts_.changed_elements += count;
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
      lag.changes.push_back({index, target_index, delta});
      lag.elements += delta.positions.size();
    }
  }
  LW_TRY(run_jobs(static_cast<int64_t>(jobs.size()), [&](int64_t i) { return run_job(jobs[i]); }));
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

Status DeltaStaging::run_job(const Job& job) {
  const Source& source = plan_.sources[job.source];
  const Target& target = source.targets[job.target];
  const KernelFormat& format = format_of(plan_, target);
  if (format.rows == 0 || format.cols == 0) return {};
  const TensorDelta& delta = deltas_.at(job.source);
  std::byte* slot = slot_of_(target.parameter);
  std::vector<uint32_t> doubtful;
  const auto patch_rows = [&](const Segment& segment, int64_t begin_row, int64_t end_row) {
    const size_t begin = first_from(delta.positions, job.part.begin, job.part.end, begin_row * source.cols);
    const size_t end = first_from(delta.positions, begin, job.part.end, end_row * source.cols);
    ElementPatcher({&format, slot, target.matrix, segment}, source.dtype)
        .run({delta.positions.subspan(begin, end - begin),
              delta.values.data() + begin * static_cast<size_t>(element_bytes(source)), source.cols,
              has_old_ ? old_of(job.source).data : nullptr},
             doubtful);
  };
  const int64_t tile = target.tile_rows, job_end = job.part.row + job.part.rows;
  int64_t covered = job.part.row;
  for (const Segment& segment : target.segments) {
    const int64_t begin = std::max(job.part.row, segment.source_row / tile * tile);
    const int64_t end = std::min(job_end, (segment.source_row + segment.rows + tile - 1) / tile * tile);
    if (begin >= end) continue;
    // A tensor-wide scale counts the elements that other ranks keep, too.
    if (is_tensor_wide(plan_, target)) patch_rows(Segment{}, covered, begin);
    patch_rows(segment, begin, end);
    covered = end;
  }
  if (is_tensor_wide(plan_, target)) patch_rows(Segment{}, covered, job_end);
  return doubtful.empty() ? Status{} : quantize_boxes(job, doubtful);
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
  for (const auto& [row, col] : tiles) {
    LW_TRY(quantize_box({job.source, job.target, row, std::min(target.tile_rows, source.rows - row), col,
                         std::min(target.tile_cols, source.cols - col)},
                        0));
  }
  return {};
}

TensorView DeltaStaging::old_of(int32_t index) const {
  if (!mirror_) return {};
  const Source& source = plan_.sources[index];
  TensorView view = mirror_->find(source.name);
  for (size_t i = 0; !view.data && i < plan_.sources.size(); ++i) {
    if (plan_.sources[i].alias_of == index) view = mirror_->find(plan_.sources[i].name);
  }
  return view.dtype == source.dtype && view.shape == source.shape ? view : TensorView{};
}

Result<std::vector<std::byte>> DeltaStaging::patched(int32_t index, const UnitBox& box) {
  const Source& source = plan_.sources[index];
  const TensorView old = old_of(index);
  if (!old.data) {
    return fail(ErrorCode::kFailedState,
                fmt::format("tensor {}: the change at {} may move its unit's scale, which needs the unit's "
                            "other elements: {}",
                            source.name, position_text(source, box.row, box.col), why_),
                {source.name});
  }
  const auto each = static_cast<size_t>(element_bytes(source));
  const auto row_bytes = static_cast<size_t>(box.cols) * each;
  std::vector<std::byte> bytes(row_bytes * static_cast<size_t>(box.rows));
  const auto known = deltas_.find(index);
  for (int64_t r = 0; r < box.rows; ++r) {
    const int64_t first = (box.row + r) * source.cols + box.col;
    std::byte* to = bytes.data() + static_cast<size_t>(r) * row_bytes;
    std::memcpy(to, old.data + static_cast<size_t>(first) * each, row_bytes);
    if (known == deltas_.end()) continue;
    const auto& [positions, values] = std::pair(known->second.positions, known->second.values);
    for (size_t i = first_from(positions, 0, positions.size(), first);
         i < positions.size() && positions[i] < first + box.cols; ++i) {
      std::memcpy(to + (positions[i] - static_cast<size_t>(first)) * each, values.data() + i * each, each);
    }
  }
  std::lock_guard lock(mutex_);
  counts_.mirror_bytes += bytes.size();
  return bytes;
}

Result<float> DeltaStaging::last_element(int32_t index) {
  const Source& source = plan_.sources[index];
  LW_ASSIGN(const auto bytes, patched(index, {index, 0, source.rows - 1, 1, source.cols - 1, 1}));
  return load_high_precision(source.dtype, bytes.data(), 0);
}

Status DeltaStaging::quantize_box(const UnitBox& box, float amax) {
  const Source& source = plan_.sources[box.source];
  const Target& target = source.targets[box.target];
  LW_ASSIGN(const auto bytes, patched(box.source, box));
  TensorUnit unit{amax, 0};
  if (fills_edges(plan_, source, target)) {
    LW_ASSIGN(unit.last_element, last_element(box.source));
  }
  const Piece piece{box.row, box.rows, box.col, box.cols, bytes.data(), box.cols};
  LW_TRY(apply_piece(plan_, source, target, piece, slot_of_(target.parameter), unit));
  std::lock_guard lock(mutex_);
  lag_of_(target.parameter).units.push_back(box);
  ++counts_.units;
  return {};
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
    LW_ASSIGN(const auto bytes, patched(box.source, box));
    const Piece piece{box.row, box.rows, box.col, box.cols, bytes.data(), box.cols};
    LW_ASSIGN(maxima[static_cast<size_t>(i)], piece_maximum(plan_.sources[box.source], piece));
    return {};
  }));
  const float amax = *std::max_element(maxima.begin(), maxima.end());
  const ElementRule rule(format.scheme, format.source_dtype);
  const std::byte* scale = slot_of_(key.first) + row_offset(format.scale, key.second, 0);
  const bool moves = rule.scale_of(amax) != load_high_precision(format.scale.dtype, scale, 0);
  const std::vector<UnitBox>& changed = moves ? boxes : doubtful;
  const uint64_t before = counts_.units;
  LW_TRY(run_jobs(static_cast<int64_t>(changed.size()),
                  [&](int64_t i) { return quantize_box(changed[static_cast<size_t>(i)], amax); }));
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
  return run_jobs(static_cast<int64_t>(boxes.size()),
                  [&](int64_t i) { return quantize_box(boxes[static_cast<size_t>(i)], 0); });
}

std::vector<TensorDelta> DeltaStaging::take() const {
  std::vector<TensorDelta> all;
  for (const auto& [index, delta] : deltas_) all.push_back(delta);
  for (size_t i = 0; i < plan_.sources.size(); ++i) {
    const auto primary = deltas_.find(plan_.sources[i].alias_of);
    if (primary == deltas_.end() || has(static_cast<int32_t>(i))) continue;
    all.push_back(primary->second);
    all.back().name = plan_.sources[i].name;
  }
  return all;
}

}  // namespace liveweight
