// What very many checkpoint tensors cost, in a mixture of experts: compiling their plan, and reloading them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "liveweight/error.h"

namespace liveweight::bench {

struct PlanFigures {
  int64_t tensors = 0;
  int64_t parameters = 0;
  double seconds = 0;  // median
};

// A reload of tensors so small that what each costs by itself shows.
struct SmallTensorFigures {
  std::string scheme;
  int64_t tensors = 0;
  uint64_t source_bytes = 0;
  double open_seconds = 0;      // opening the directory anew (index, headers, names) and closing it
  double reload_seconds = 0;    // from the first tensor to the commit
  double floor_seconds = 0;     // reading the mapped files and writing the live bytes
  double overhead_seconds = 0;  // median of open + reload - floor, of one tensor
};

// A directory of 16 shards and an index: as many tensors as `measure_plan` has for the same arguments, all of
// experts 2 KiB. About 2.3 KiB a tensor on disk.
Status write_small_tensors(const std::filesystem::path& directory, int64_t layers, int64_t experts);

Result<SmallTensorFigures> measure_small_tensors(const std::filesystem::path& directory,
                                                 const std::string& scheme, int rounds);

// A Qwen3-MoE of `layers` layers of `experts` experts: 3 x layers x experts checkpoint tensors and some.
Result<PlanFigures> measure_plan(int64_t layers, int64_t experts, const std::string& scheme, int rounds);

}  // namespace liveweight::bench
