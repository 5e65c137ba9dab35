#include "live/plan_hash.h"

#include "base/hash.h"

namespace liveweight {
namespace {

void add_segments(Hasher& hasher, const std::vector<Segment>& segments) {
  hasher.add_number(static_cast<int64_t>(segments.size()));
  for (const Segment& segment : segments) {
    hasher.add_numbers({segment.row, segment.rows, segment.source_row, segment.scale_row});
  }
}

void add_part(Hasher& hasher, const Part& part) {
  hasher.add_text(to_string(part.dtype));
  hasher.add_numbers({part.rows, part.cols, part.row_bytes, static_cast<int64_t>(part.offset),
                      static_cast<int64_t>(part.bytes)});
}

void add_parameter(Hasher& hasher, const PlannedParameter& parameter) {
  const KernelFormat& format = *parameter.format;
  hasher.add_text(parameter.name);
  hasher.add_text(to_string(format.scheme));
  hasher.add_text(to_string(format.source_dtype));
  hasher.add_text(to_string(parameter.shape));
  hasher.add_numbers({format.source_col, format.source_cols, format.scale_per_segment});
  add_segments(hasher, format.segments);
  for (const Part* part : {&format.data, &format.scale, &format.zero_point}) add_part(hasher, *part);
}

void add_target(Hasher& hasher, const Target& target) {
  hasher.add_numbers({static_cast<int64_t>(target.kind), target.parameter, target.matrix});
  add_segments(hasher, target.segments);
  hasher.add_number(static_cast<int64_t>(target.spans.size()));
  for (const CopySpan& span : target.spans) {
    hasher.add_numbers({span.source_row, span.rows, span.source_col, span.cols,
                        static_cast<int64_t>(span.offset), span.row_bytes});
  }
}

void add_source(Hasher& hasher, const Source& source) {
  hasher.add_text(source.name);
  hasher.add_text(to_string(source.dtype));
  hasher.add_text(to_string(source.shape));
  hasher.add_numbers({source.alias_of, static_cast<int64_t>(source.targets.size())});
  for (const Target& target : source.targets) add_target(hasher, target);
}

}  // namespace

std::string hash_plan(const Plan::Implementation& plan) {
  Hasher hasher;
  hasher.add_text(plan.config.architecture);
  hasher.add_text(to_string(plan.options.mode));
  hasher.add_numbers({plan.options.tensor_parallel.size, plan.options.tensor_parallel.rank});
  for (const PlannedParameter& parameter : plan.parameters) add_parameter(hasher, parameter);
  for (const Source& source : plan.sources) add_source(hasher, source);
  return Digest{hasher.finish()}.hex();
}

}  // namespace liveweight
