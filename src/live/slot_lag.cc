#include "live/slot_lag.h"

#include "base/memory.h"
#include "base/threads.h"
#include "live/delta_split.h"
#include "quantize/slot_copy.h"

namespace liveweight {
namespace {

constexpr uint64_t kBytesPerElement = 32;  // that a streamed copy does in the time of one scattered element

}  // namespace

void SlotLag::shorten(uint64_t slot_bytes) {
  if (elements * kBytesPerElement > slot_bytes) forget();
}

void copy_lag(const Plan::Implementation& plan, int32_t index, const SlotLag& lag, const std::byte* from,
              std::byte* to) {
  const KernelFormat& format = *plan.parameters[index].format;
  if (lag.everything) return copy_memory(to, from, format.bytes);
  for (const SlotLag::Change& change : lag.changes) {
    const Source& source = plan.sources[change.source];
    const Target& target = source.targets[change.target];
    const auto parts = split_rows(change.positions, source.rows, source.cols, 1);
    ThreadPool::shared().parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const DeltaRows& part = parts[static_cast<size_t>(i)];
      for (const Segment& segment : target.segments) {
        copy_elements({&format, to, target.matrix, segment}, from,
                      change.positions.subspan(part.begin, part.end - part.begin), source.cols);
      }
    });
  }
  const auto copy_box = [&](int64_t i) {
    const UnitBox& box = lag.units[static_cast<size_t>(i)];
    const Target& target = plan.sources[box.source].targets[box.target];
    for (const Segment& segment : target.segments) {
      copy_units({&format, to, target.matrix, segment}, from, box.row, box.rows, box.col, box.cols);
    }
  };
  const auto boxes = static_cast<int64_t>(lag.units.size());
  // Boxes of one tensor-wide unit share its scale.
  if (format.scheme.granularity == Granularity::kTensor) {
    for (int64_t i = 0; i < boxes; ++i) copy_box(i);
  } else {
    ThreadPool::shared().parallel_for(boxes, copy_box);
  }
}

}  // namespace liveweight
