// `liveweight bench soak`.
#pragma once

#include "bench/soak.h"
#include "cli/bench_command.h"

namespace liveweight::cli {

struct SoakCommand {
  bench::SoakOptions options{.directory = "samples/addition/checkpoints/step_02500"};
  std::vector<std::string> schemes = {"int8_per_channel"};

  // --seconds, --every, --clients and --seed.
  void add_to(CLI::App& app);
};

Result<Measured> bench_soak(const SoakCommand& command);

}  // namespace liveweight::cli
