// `liveweight bench`: its options, and what each of its measurements returns.
#pragma once

#include <filesystem>

#include "cli/command.h"
#include "plot/chart.h"

namespace liveweight::cli {

struct BenchOptions {
  std::string directory;
  std::vector<std::string> schemes = {"none",           "int8_per_channel", "int4_per_group",
                                      "fp8_per_tensor", "fp8_per_channel",  "fp8_per_block"};
  std::string mode = "flip";
  std::string head = "none";
  std::string plot;
  int rounds = 9;

  // The directory given, or a synthetic one made at the first call and kept for the next.
  Result<std::filesystem::path> checkpoint() const;
};

struct Measured {
  Outcome outcome;
  plot::Chart picture;
};

Result<Measured> bench_limits(const BenchOptions& options);
Result<Measured> bench_quantize(const BenchOptions& options);
Result<Measured> bench_reload(const BenchOptions& options);
Result<Measured> bench_delta(const BenchOptions& options);
Result<Measured> bench_diff(const BenchOptions& options);
Result<Measured> bench_decode(const BenchOptions& options);
Result<Measured> bench_plan(const BenchOptions& options);

// A chart of one panel, whose series have a value for each of the categories.
plot::Chart one_panel(std::string title, std::string subtitle, std::vector<std::string> categories,
                      plot::Panel panel);

}  // namespace liveweight::cli
