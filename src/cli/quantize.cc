#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "cli/command.h"
#include "liveweight/export.h"

namespace liveweight::cli {
namespace {

struct QuantizeCommand {
  ModelOptions model;
  std::string out_directory;
  std::string format;
};

Outcome describe(const QuantizeCommand& command, const ExportReport& report, double seconds) {
  Outcome out;
  out.json = {{"directory", command.out_directory},
              {"format", to_string(report.format)},
              {"source_bytes", report.source_bytes},
              {"bytes", report.bytes},
              {"tensors", report.tensors},
              {"files", report.files},
              {"seconds", seconds}};
  out.text = fmt::format("{}: {} in {} tensors and {} file{}, from {} of source, as {} ({:.2f} s)\n",
                         command.out_directory, human_bytes(report.bytes), report.tensors, report.files,
                         report.files == 1 ? "" : "s", human_bytes(report.source_bytes),
                         to_string(report.format), seconds);
  return out;
}

Result<Outcome> run(const QuantizeCommand& command) {
  const auto begin = Clock::now();
  ExportOptions options;
  if (!command.format.empty()) {
    LW_ASSIGN(options.format, parse_export_format(command.format));
  }
  LW_ASSIGN(options.names, command.model.names());
  LW_ASSIGN(const ModelDirectory directory, command.model.open());
  LW_ASSIGN(options.quantization, command.model.quantization(directory));
  LW_ASSIGN(const ExportReport report, export_quantized(directory, command.out_directory, options));
  return describe(command, report, seconds_since(begin));
}

}  // namespace

Run add_quantize(CLI::App& app) {
  auto command = std::make_shared<QuantizeCommand>();
  command->model.add_to(app);
  add_path(app, "OUT_DIR", command->out_directory, "a new or empty directory")->required();
  app.add_option("--format", command->format,
                 "fp8, compressed-tensors or torchao; without it, the one that holds the scheme's exact "
                 "values");
  return [command] { return run(*command); };
}

}  // namespace liveweight::cli
