#include <fmt/format.h>

#include "cli/command.h"
#include "cli/live_versions.h"
#include "cli/log.h"
#include "liveweight/digest.h"

namespace liveweight::cli {
namespace {

struct ReloadCommand {
  ModelOptions model;
  TensorParallelOptions tensor_parallel;
  std::vector<std::string> next;
  std::string mode = "flip";
  std::string mirror;
  bool no_verify = false;
};

class Reloads {
 public:
  Reloads(const ReloadCommand& command, const ModelDirectory& directory, const LoadOptions& options)
      : command_(command),
        directory_(directory),
        live_(directory, options, command.tensor_parallel, command.mirror) {}

  Result<Outcome> run() {
    LW_ASSIGN(const std::string version, version_of(directory_.checkpoint));
    LW_TRY(live_.load(version));
    LW_ASSIGN(const Digest initial, live_.digest());
    Outcome out;
    Json reloads = Json::array();
    out.text = fmt::format("{}  loaded {}\n", initial.hex(), command_.model.directory);
    for (const std::string& next : command_.next) {
      LW_ASSIGN(Json entry, reload_one(next, out));
      reloads.push_back(std::move(entry));
    }
    out.json = {{"initial", {{"digest", initial.hex()}}}, {"reloads", reloads}, {"ok", ok_}};
    return out;
  }

 private:
  Result<Json> reload_one(const std::string& next, Outcome& out) {
    Result<Json> taken = live_.take(next);
    LW_ASSIGN(const Digest digest, live_.digest());
    const std::string hex = digest.hex();
    if (!taken) {
      const Error& error = taken.error();
      out.text += fmt::format("{}  refused {}\n", hex, error.message);
      out.refused = error;
      log_line(LogLevel::kWarn, fmt::format("refused {}", error.message));
      ok_ = false;
      return Json{{"directory", next}, {"error", error_entry(error)}, {"digest", hex}};
    }
    Json& entry = *taken;
    LW_TRY(live_.follow_up(entry));
    const uint64_t number = entry["version"];
    const double total = entry["seconds"]["total"], pause_us = entry["pause_us"];
    log_line(LogLevel::kInfo,
             fmt::format("version {} from {} in {:.3f} s, pause {:.1f} us", number, next, total, pause_us));
    entry["addresses_unchanged"] = live_.addresses_unchanged();
    ok_ = ok_ && live_.addresses_unchanged();
    entry["digest"] = hex;
    std::string verdict;
    if (!command_.no_verify) {
      LW_ASSIGN(const Digest cold, live_.cold_digest());
      entry["cold_digest"] = cold.hex();
      entry["equal"] = cold == digest;
      verdict = cold == digest ? ", equal to a cold load" : ", NOT equal to a cold load";
      ok_ = ok_ && cold == digest;
    }
    out.text += fmt::format("{}  version {} from {}: {:.2f} ms, pause {:.1f} us{}{}\n", hex, number, next,
                            total * 1e3, pause_us, delta_text(entry), verdict);
    return entry;
  }

  static std::string delta_text(const Json& entry) {
    if (!entry.contains("delta")) return "";
    const Json& delta = entry["delta"];
    return fmt::format(", {} elements of {} units changed, {} units quantized whole",
                       delta["changed"].get<uint64_t>(), delta["touched_units"].get<uint64_t>(),
                       delta["whole_units"].get<uint64_t>());
  }

  const ReloadCommand& command_;
  const ModelDirectory& directory_;
  LiveVersions live_;
  bool ok_ = true;
};

}  // namespace

Run add_reload(CLI::App& app) {
  auto command = std::make_shared<ReloadCommand>();
  command->model.add_to(app);
  command->tensor_parallel.add_to(app);
  add_path(app, "NEW_DIR", command->next, "directories of new weights or deltas, in order")->required();
  app.add_option("--mode", command->mode, "flip, copy or in_place");
  add_path(app, "--mirror", command->mirror,
           "directory that keeps the high-precision weights for deltas, made where it is not there");
  app.add_flag("--no-verify", command->no_verify, "do not compare with a cold load");
  return [command]() -> Result<Outcome> {
    LoadOptions options;
    LW_ASSIGN(options.mode, parse_commit_mode(command->mode));
    LW_ASSIGN(options.names, command->model.names());
    LW_ASSIGN(const ModelDirectory directory, command->model.open());
    LW_ASSIGN(options.quantization, command->model.quantization(directory));
    options.label = command->model.directory;
    return Reloads(*command, directory, options).run();
  };
}

}  // namespace liveweight::cli
