#include "live/slot_lag.h"

#include <algorithm>

#include "base/memory.h"
#include "base/threads.h"
#include "live/delta_split.h"
#include "quantize/slot_copy.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

constexpr uint64_t kBytesPerElement = 32;  // that a streamed copy does in the time of one scattered element
constexpr uint64_t kUndoShare = 4;         // of a slot's bytes, which units to bring back may take

// What one thread looks after: elements of one change, or boxes [begin, end).
struct LagPart {
  const SlotLag::Change* change = nullptr;
  size_t begin = 0, end = 0;
};

bool has_one_scale(const KernelFormat& format) {
  return format.scheme.granularity == Granularity::kTensor;
}

std::vector<LagPart> parts_of(const Plan::Implementation& plan, const KernelFormat& format,
                              const SlotLag& lag) {
  std::vector<LagPart> parts;
  for (const SlotLag::Change& change : lag.changes) {
    const Source& source = plan.sources[change.source];
    split_rows(change.positions, source.rows, source.cols, 1, [&](const DeltaRows& rows) {
      parts.push_back({&change, rows.begin, rows.end});
    });
  }
  // Boxes of one tensor-wide unit share its scale: one thread writes it.
  const size_t step = has_one_scale(format) ? std::max<size_t>(1, lag.units.size()) : 16;
  for (size_t begin = 0; begin < lag.units.size(); begin += step) {
    parts.push_back({nullptr, begin, std::min(begin + step, lag.units.size())});
  }
  return parts;
}

SourceArea area_of(const UnitBox& box) {
  return {box.row, box.rows, box.col, box.cols};
}

// elements(region, positions, columns of the source) or units(region, area) for each segment that the part
// has something for.
template <typename Elements, typename Units>
void visit(const Plan::Implementation& plan, const KernelFormat& format, const SlotLag& lag,
           const LagPart& part, std::byte* slot, const Elements& elements, const Units& units) {
  if (part.change) {
    const Source& source = plan.sources[part.change->source];
    const Target& target = source.targets[part.change->target];
    for (const Segment& segment : target.segments) {
      elements(SlotRegion{&format, slot, target.matrix, segment},
               part.change->positions.subspan(part.begin, part.end - part.begin), source.cols);
    }
    return;
  }
  for (const UnitBox& box : std::span(lag.units).subspan(part.begin, part.end - part.begin)) {
    const Target& target = plan.sources[box.source].targets[box.target];
    for (const Segment& segment : target.segments) {
      units(SlotRegion{&format, slot, target.matrix, segment}, area_of(box));
    }
  }
}

// Units hold bytes of elements that changed, too: one change after the other, and the units after them.
template <typename Body>
void for_each_part(const std::vector<LagPart>& parts, const Body& body) {
  for (size_t begin = 0, end = 0; begin < parts.size(); begin = end) {
    while (end < parts.size() && parts[end].change == parts[begin].change) ++end;
    ThreadPool::shared().parallel_for(static_cast<int64_t>(end - begin), [&](int64_t i) {
      const size_t at = begin + static_cast<size_t>(i);
      body(parts[at], static_cast<int64_t>(at));
    });
  }
}

// Memory that the units take: no less than that of their codes in the columns that the slot has. Of their
// rows it may have fewer.
uint64_t unit_bytes(const KernelFormat& format, const SlotLag& lag) {
  uint64_t bytes = 0;
  for (const UnitBox& box : lag.units) {
    const int64_t begin = std::max(box.col, format.source_col);
    const int64_t end = std::min(box.col + box.cols, format.source_col + format.cols);
    const int64_t elements = box.rows * std::max<int64_t>(0, end - begin);
    bytes += sizeof(UnitBox) + static_cast<uint64_t>(elements * code_bits(format)) / 8;
  }
  return bytes;
}

// The owner of a delta's positions may be a mapped file, which goes when nobody waits for it any more.
SlotLag owning(const SlotLag& lag) {
  SlotLag copy = lag;
  for (SlotLag::Change& change : copy.changes) {
    auto own =
        std::make_shared<const std::vector<uint32_t>>(change.positions.begin(), change.positions.end());
    change.positions = *own;
    change.owner = std::move(own);
  }
  return copy;
}

}  // namespace

void SlotLag::shorten(uint64_t slot_bytes) {
  if (elements * kBytesPerElement > slot_bytes) forget();
}

void copy_lag(const Plan::Implementation& plan, int32_t index, const SlotLag& lag, const std::byte* from,
              std::byte* to) {
  const KernelFormat& format = *plan.parameters[index].format;
  if (lag.everything) return copy_memory(to, from, format.bytes);
  for_each_part(parts_of(plan, format, lag), [&](const LagPart& part, int64_t) {
    visit(
        plan, format, lag, part, to,
        [&](const SlotRegion& region, std::span<const uint32_t> positions, int64_t cols) {
          copy_elements(region, from, positions, cols);
        },
        [&](const SlotRegion& region, const SourceArea& area) { copy_units(region, from, area); });
  });
}

std::optional<SlotUndo> save_lag(const Plan::Implementation& plan, int32_t index, const SlotLag& lag,
                                 std::byte* slot) {
  const KernelFormat& format = *plan.parameters[index].format;
  if (lag.everything || unit_bytes(format, lag) * kUndoShare > format.bytes) return std::nullopt;
  SlotUndo undo{owning(lag), {}};
  const std::vector<LagPart> parts = parts_of(plan, format, undo.lag);
  undo.packed.resize(parts.size());
  for_each_part(parts, [&](const LagPart& part, int64_t i) {
    std::vector<std::byte>& packed = undo.packed[static_cast<size_t>(i)];
    visit(
        plan, format, undo.lag, part, slot,
        [&](const SlotRegion& region, std::span<const uint32_t> positions, int64_t cols) {
          pack_elements(region, positions, cols, packed);
        },
        [&](const SlotRegion& region, const SourceArea& area) { pack_units(region, area, packed); });
  });
  return undo;
}

void put_back(const Plan::Implementation& plan, int32_t index, const SlotUndo& undo, std::byte* slot) {
  const KernelFormat& format = *plan.parameters[index].format;
  for_each_part(parts_of(plan, format, undo.lag), [&](const LagPart& part, int64_t i) {
    const std::byte* packed = undo.packed[static_cast<size_t>(i)].data();
    visit(
        plan, format, undo.lag, part, slot,
        [&](const SlotRegion& region, std::span<const uint32_t> positions, int64_t cols) {
          packed = unpack_elements(region, positions, cols, packed);
        },
        [&](const SlotRegion& region, const SourceArea& area) {
          packed = unpack_units(region, area, packed);
        });
  });
}

}  // namespace liveweight
