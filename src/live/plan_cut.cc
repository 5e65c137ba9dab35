#include "live/plan_cut.h"

namespace liveweight {
namespace {

// Ranges that follow one another in the member and on the rank become one segment.
void append(ParameterCut& cut, int32_t member, int64_t source_row, int64_t rows) {
  if (rows == 0) return;
  if (!cut.members.empty()) {
    MemberCut& last = cut.members.back();
    if (last.member == member && last.segment.source_row + last.segment.rows == source_row) {
      last.segment.rows += rows;
      cut.rows += rows;
      return;
    }
  }
  cut.members.push_back({member, Segment{cut.rows, rows, source_row, 0}});
  cut.rows += rows;
}

}  // namespace

Result<ParameterCut> cut_parameter(const ParameterDescription& parameter, TensorParallel group) {
  ParameterCut cut;
  int32_t index = 0;
  for (const Member& member : parameter.members) {
    if (member.matrix != 0) continue;
    int64_t first = 0;
    for (const RowRange& range : member.ranges) {
      std::pair<int64_t, int64_t> rows{0, range.rows};
      if (parameter.cut == Cut::kRows) {
        LW_ASSIGN(rows, rank_rows(range, group.size, group.rank, member.name));
      }
      append(cut, index, first + rows.first, rows.second - rows.first);
      first += range.rows;
    }
    ++index;
  }
  std::pair<int64_t, int64_t> cols{0, parameter.cols};
  if (parameter.cut == Cut::kCols) cols = rank_cols(parameter.cols, group.size, group.rank);
  cut.source_col = cols.first;
  cut.cols = cols.second - cols.first;
  return cut;
}

CutShape cut_shape(const ParameterDescription& parameter, const ParameterCut& cut) {
  CutShape shape{parameter.matrices, cut.cols, cut.source_col, parameter.cols, {}};
  for (const MemberCut& member : cut.members) shape.segments.push_back(member.segment);
  return shape;
}

}  // namespace liveweight
