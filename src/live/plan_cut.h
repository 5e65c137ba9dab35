// A rank's part of a parameter, and the slot's format that follows from it.
#pragma once

#include "live/plan_tables.h"

namespace liveweight {

// Where one member's rows lie in this rank's matrix.
struct MemberCut {
  int32_t member = 0;  // among the members of one matrix
  Segment segment;     // scale_row not filled in
};

struct ParameterCut {
  int64_t rows = 0;  // of this rank's matrix
  int64_t source_col = 0;
  int64_t cols = 0;
  std::vector<MemberCut> members;
};

// All matrices (experts) of a parameter are cut alike, as its first one.
Result<ParameterCut> cut_parameter(const ParameterDescription& parameter, TensorParallel group);

CutShape cut_shape(const ParameterDescription& parameter, const ParameterCut& cut);

}  // namespace liveweight
