#include "liveweight/plan.h"

#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "cli/command.h"
#include "quantize/kernel_format.h"

namespace liveweight::cli {
namespace {

struct PlanCommand {
  ModelOptions model;
  TensorParallelOptions tensor_parallel;
  std::string mode = "flip";
};

Outcome describe(const Plan& plan, double seconds) {
  Outcome out;
  Json parameters = Json::array();
  for (const PlannedParameter& parameter : plan.parameters()) {
    const std::string scheme = to_string(parameter.format->scheme);
    parameters.push_back({{"name", parameter.name},
                          {"shape", parameter.shape},
                          {"scheme", scheme},
                          {"sources", parameter.sources},
                          {"live_bytes", parameter.format->bytes},
                          {"units", unit_count(*parameter.format)}});
    out.text += fmt::format("  {:<52} {:<18} {:<22} {:>10}  from {} tensor{}\n", parameter.name,
                            to_string(parameter.shape), scheme, human_bytes(parameter.format->bytes),
                            parameter.sources.size(), parameter.sources.size() == 1 ? "" : "s");
  }
  out.json = {{"hash", plan.hash()},
              {"seconds", seconds},
              {"parameters", parameters},
              {"source_bytes", plan.source_bytes()},
              {"live_bytes", plan.live_bytes()},
              {"extra_peak_bytes", plan.extra_peak_bytes()}};
  out.text =
      fmt::format(
          "plan {}: {} of source become {} live; a reload takes at most {} more ({:.1f} ms to compile)\n",
          plan.hash(), human_bytes(plan.source_bytes()), human_bytes(plan.live_bytes()),
          human_bytes(plan.extra_peak_bytes()), seconds * 1e3) +
      out.text;
  return out;
}

}  // namespace

Run add_plan(CLI::App& app) {
  auto command = std::make_shared<PlanCommand>();
  command->model.add_to(app);
  command->tensor_parallel.add_to(app);
  app.add_option("--mode", command->mode, "flip, copy or in_place");
  return [command]() -> Result<Outcome> {
    LW_ASSIGN(const CommitMode mode, parse_commit_mode(command->mode));
    LW_ASSIGN(const ModelDirectory directory, command->model.open());
    LW_ASSIGN(const QuantizationConfig quantization, command->model.quantization(directory));
    const TensorParallel group{command->tensor_parallel.size, command->tensor_parallel.rank.value_or(0)};
    const auto begin = Clock::now();
    LW_ASSIGN(const auto plan,
              Plan::compile(directory.description, directory.catalog, {quantization, group, mode}));
    return describe(*plan, seconds_since(begin));
  };
}

}  // namespace liveweight::cli
