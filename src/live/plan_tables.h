// The plan's inside: for each checkpoint tensor, its targets, which say where its elements go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/name_table.h"
#include "liveweight/plan.h"
#include "quantize/kernel_format.h"

namespace liveweight {

// Rows of a checkpoint tensor that are copied as they are into a part of a slot. Bytes are counted from the
// slot's first byte; `elements` are the checkpoint tensor's.
struct CopySpan {
  int64_t source_row = 0;
  int64_t rows = 0;
  int64_t source_col = 0;
  int64_t cols = 0;
  uint64_t offset = 0;    // of the first element's byte
  int64_t row_bytes = 0;  // from row to row in the slot
};

enum class TargetKind : uint8_t {
  kQuantize,        // through the quantizer; high precision too, which it copies and checks
  kCopy,            // already quantized: codes or scales, byte for byte
  kCopyTransposed,  // torchao's int4 scales and zero points: a row of them for each group
  kCopyPairs,       // torchao's packed int4 codes: two's complement, where ours are offset by 8
  kPackCodes,       // torchao's unpacked int4 codes: one a byte
  kUnpackZero,      // compressed-tensors' int4 zero points: eight rows to an I32
  kExpectShape,     // compressed-tensors' weight_shape: must say what the plan says
  kExpectZero,      // zero points of a symmetric scheme
};

struct Target {
  TargetKind kind = TargetKind::kQuantize;
  int32_t parameter = 0;
  int32_t matrix = 0;
  std::vector<Segment> segments;  // kQuantize: the parameter's segments that this tensor fills
  std::vector<CopySpan> spans;    // of all kinds that are written
  Shape expected;                 // kExpectShape
  int64_t tile_rows = 1;          // what must come whole, in rows and columns of the checkpoint tensor
  int64_t tile_cols = 1;
  bool held = false;    // quantized only when all of it is there (held_matrices.h)
  int64_t awaited = 0;  // held: the elements that must be there
};

// Whether what is held waits for all members of its matrix, rather than for the rest of its own tensor.
inline bool shares_scale(const Target& target) {
  return target.held && target.tile_rows == 1;
}

// A checkpoint tensor viewed as a matrix; 1-D tensors are [n, 1], rank 0 is [1, 1].
struct Source {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t bytes = 0;
  int32_t alias_of = -1;  // another name of that source; has no targets of its own
  std::vector<Target> targets;
};

struct Plan::Implementation {
  ModelConfig config;
  PlanOptions options;
  std::vector<PlannedParameter> parameters;
  std::vector<Cut> cuts;  // by parameter
  std::vector<std::vector<int32_t>>
      segment_members;  // by parameter: which member of a matrix each segment is cut from
  std::vector<Source> sources;
  NameTable source_names;
  std::vector<int32_t> aliases;                         // sources that are another's
  bool holds = false;                                   // whether any target is held
  std::vector<std::vector<int32_t>> parameter_sources;  // by parameter: sources that fill it
  std::unordered_map<int64_t, int64_t> roles;           // role and layer -> parameter
  uint64_t source_bytes = 0;
  uint64_t live_bytes = 0;
  uint64_t extra_peak_bytes = 0;
  std::string hash;

  auto name_of_source() const {
    return [this](uint32_t source) { return std::string_view(sources[source].name); };
  }
  int32_t find_source(std::string_view name) const {
    const auto found = source_names.find(name, name_of_source());
    return found ? static_cast<int32_t>(*found) : -1;
  }
  void reserve_sources(size_t count) {
    sources.reserve(count);
    source_names.reserve(count, name_of_source());
  }
  int32_t add_source(Source source) {
    const auto index = static_cast<uint32_t>(sources.size());
    sources.push_back(std::move(source));
    source_names.add(sources.back().name, index, name_of_source());
    return static_cast<int32_t>(index);
  }
  // The source that has the targets of that one: itself, unless it is another's alias.
  int32_t primary_of(int32_t source) const {
    return sources[source].alias_of >= 0 ? sources[source].alias_of : source;
  }
};

}  // namespace liveweight
