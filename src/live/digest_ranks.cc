// The unsharded model's bytes, put together from all ranks'.
#include <fmt/format.h>

#include <cstring>

#include "live/digest_table.h"
#include "live/plan_tables.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

// Copies `count` elements of `bits` bits, 4 or whole bytes, from and to element positions of rows.
void copy_elements(const std::byte* from, int64_t from_col, std::byte* to, int64_t to_col, int64_t count,
                   int bits) {
  if (bits >= 8) {
    std::memcpy(to + to_col * bits / 8, from + from_col * bits / 8, static_cast<size_t>(count * bits / 8));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t a = from_col + i, b = to_col + i;
    const std::byte nibble = from[a / 2] >> (a % 2 * 4) & std::byte{0x0f};
    to[b / 2] |= nibble << (b % 2 * 4);
  }
}

// A rank's segment and the whole model's segment of the same member that holds its rows.
class Gather {
 public:
  Gather(const PlannedParameter& whole, const std::vector<int32_t>& whole_members, std::byte* to)
      : whole_(*whole.format), members_(whole_members), to_(to) {}

  void add(const KernelFormat& part, const std::vector<int32_t>& part_members, const std::byte* from) {
    for (int64_t matrix = 0; matrix < part.matrices; ++matrix) {
      for (size_t s = 0; s < part.segments.size(); ++s) {
        add_segment(part, part.segments[s], segment_for(part_members[s], part.segments[s].source_row), matrix,
                    from);
      }
    }
  }

 private:
  const Segment& segment_for(int32_t member, int64_t source_row) const {
    for (size_t s = 0; s < whole_.segments.size(); ++s) {
      const Segment& segment = whole_.segments[s];
      const bool holds = source_row >= segment.source_row && source_row < segment.source_row + segment.rows;
      if (members_[s] == member && holds) return segment;
    }
    return whole_.segments[0];
  }

  void add_segment(const KernelFormat& part, const Segment& from_segment, const Segment& to_segment,
                   int64_t matrix, const std::byte* from) {
    const int bits = part.scheme.element == Element::kInt4 ? 4 : bits_of(part.data.dtype);
    for (int64_t i = 0; i < from_segment.rows; ++i) {
      const int64_t to_row = to_segment.row + from_segment.source_row - to_segment.source_row + i;
      copy_elements(from + row_offset(part.data, matrix, from_segment.row + i), 0,
                    to_ + row_offset(whole_.data, matrix, to_row), part.source_col, part.cols, bits);
      if (part.scale.bytes == 0) continue;
      const int64_t source_row = from_segment.source_row + i;
      const int64_t from_scale = scale_row_of(part, from_segment, source_row);
      const int64_t to_scale = scale_row_of(whole_, to_segment, source_row);
      const int64_t to_col = scale_col_of(whole_, part.source_col);
      copy_scales(part.scale, whole_.scale, matrix, from_scale, to_scale, to_col, from);
      if (part.zero_point.bytes > 0) {
        copy_scales(part.zero_point, whole_.zero_point, matrix, from_scale, to_scale, to_col, from);
      }
    }
  }

  void copy_scales(const Part& part, const Part& whole, int64_t matrix, int64_t from_row, int64_t to_row,
                   int64_t to_col, const std::byte* from) {
    copy_elements(from + row_offset(part, matrix, from_row), 0, to_ + row_offset(whole, matrix, to_row),
                  to_col, part.cols, bits_of(part.dtype));
  }

  const KernelFormat& whole_;
  const std::vector<int32_t>& members_;
  std::byte* to_;
};

}  // namespace

Result<ModelDigest> digest_of_ranks(const Plan& whole, std::span<const std::unique_ptr<LiveModel>> ranks) {
  std::vector<std::vector<std::byte>> buffers;
  std::vector<const std::byte*> slots;
  std::vector<Snapshot> snapshots;
  for (const auto& rank : ranks) {
    LW_ASSIGN(Snapshot snapshot, rank->pin());
    snapshots.push_back(std::move(snapshot));
  }
  for (size_t p = 0; p < whole.parameters().size(); ++p) {
    buffers.emplace_back(whole.parameters()[p].format->bytes);
    Gather gather(whole.parameters()[p], whole.implementation().segment_members[p], buffers.back().data());
    const bool replicated = whole.implementation().cuts[p] == Cut::kReplicated;
    const size_t count = replicated ? 1 : ranks.size();
    for (size_t r = 0; r < count; ++r) {
      const Plan& plan = ranks[r]->plan();
      if (plan.parameters().size() != whole.parameters().size()) {
        return fail(ErrorCode::kInvalidArgument, fmt::format("rank {}: its plan is of another model", r));
      }
      gather.add(*plan.parameters()[p].format, plan.implementation().segment_members[p],
                 snapshots[r].table().slots[p]);
    }
    slots.push_back(buffers.back().data());
  }
  return digest_of_slots(whole, slots);
}

}  // namespace liveweight
