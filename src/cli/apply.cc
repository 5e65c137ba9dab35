#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "cli/command.h"
#include "liveweight/delta.h"

namespace liveweight::cli {
namespace {

struct ApplyCommand {
  std::string directory, out;
  std::vector<std::string> deltas;
};

Result<Outcome> apply(const ApplyCommand& command) {
  const auto begin = Clock::now();
  const std::string& target = command.out.empty() ? command.directory : command.out;
  const std::vector<std::filesystem::path> deltas(command.deltas.begin(), command.deltas.end());
  const NameMap names;
  LW_ASSIGN(
      const DeltaApplyReport report,
      apply_deltas(command.directory, deltas, target, tied_tensors(command.directory), names.as_function()));
  const double seconds = seconds_since(begin);
  Outcome out;
  out.json = {{"directory", target},       {"version", report.version},          {"deltas", report.deltas},
              {"tensors", report.tensors}, {"changed", report.changed_elements}, {"bytes", report.bytes},
              {"seconds", seconds}};
  out.text =
      fmt::format("{}: version {}: {} elements of {} tensors changed by {} deltas, {} written in {:.2f} s\n",
                  target, report.version, report.changed_elements, report.tensors, report.deltas,
                  human_bytes(report.bytes), seconds);
  return out;
}

}  // namespace

Run add_apply(CLI::App& app) {
  auto command = std::make_shared<ApplyCommand>();
  add_path(app, "DIR", command->directory, "a plain checkpoint")->required();
  add_path(app, "DELTA", command->deltas,
           "deltas in order; a full checkpoint of the same tensors restarts the chain")
      ->required();
  add_path(app, "--out", command->out,
           "a new or empty directory (default: DIR itself, of which all else stays)");
  return [command] { return apply(*command); };
}

}  // namespace liveweight::cli
