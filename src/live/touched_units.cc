#include "live/touched_units.h"

#include <algorithm>
#include <set>
#include <vector>

#include "quantize/element_places.h"

namespace liveweight {
namespace {

// Of one target, by unit of its source: a bit each.
uint64_t units_of(const Source& source, const KernelFormat& format, const Target& target,
                  std::span<const uint32_t> positions) {
  const Scheme& scheme = format.scheme;
  const bool block = scheme.granularity == Granularity::kBlock;
  const int64_t unit_rows = block ? scheme.size : 1;
  const int64_t unit_cols = block || scheme.granularity == Granularity::kGroup ? scheme.size : source.cols;
  const int64_t per_row = (source.cols + unit_cols - 1) / unit_cols;
  const ColumnRange cols = columns_of_units(format);
  std::vector<bool> touched(static_cast<size_t>((source.rows + unit_rows - 1) / unit_rows * per_row));
  for (const uint32_t position : positions) {
    const int64_t row = position / source.cols, col = position % source.cols;
    const bool counts = col >= cols.begin && col < cols.end &&
                        std::any_of(target.segments.begin(), target.segments.end(), [&](const Segment& s) {
                          return row / unit_rows >= s.source_row / unit_rows &&
                                 row / unit_rows <= (s.source_row + s.rows - 1) / unit_rows;
                        });
    if (counts) touched[static_cast<size_t>(row / unit_rows * per_row + col / unit_cols)] = true;
  }
  return static_cast<uint64_t>(std::count(touched.begin(), touched.end(), true));
}

}  // namespace

uint64_t touched_units(const Plan::Implementation& plan, std::span<const TensorDelta> deltas) {
  uint64_t units = 0;
  std::set<std::pair<int32_t, int32_t>> matrices;  // of one scale
  std::set<int32_t> seen;                          // a tensor and its other name are one
  for (const TensorDelta& delta : deltas) {
    int32_t index = plan.find_source(delta.name);
    if (index >= 0 && plan.sources[index].alias_of >= 0) index = plan.sources[index].alias_of;
    if (index < 0 || delta.positions.empty() || !seen.insert(index).second) continue;
    const Source& source = plan.sources[index];
    for (const Target& target : source.targets) {
      const KernelFormat& format = *plan.parameters[target.parameter].format;
      if (!format.scheme.quantizes()) continue;
      if (format.scheme.granularity == Granularity::kTensor) {
        matrices.emplace(target.parameter, target.matrix);
      } else {
        units += units_of(source, format, target, delta.positions);
      }
    }
  }
  return units + matrices.size();
}

}  // namespace liveweight
