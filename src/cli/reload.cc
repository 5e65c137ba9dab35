#include <fmt/format.h>

#include <chrono>

#include "cli/command.h"
#include "cli/log.h"
#include "liveweight/digest.h"

namespace liveweight::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct ReloadCommand {
  ModelOptions model;
  std::vector<std::string> next;
  std::string mode = "flip";
  bool no_verify = false;
};

std::vector<const std::byte*> addresses_of(const LiveModel& model) {
  std::vector<const std::byte*> addresses;
  for (size_t p = 0; p < model.plan().parameters().size(); ++p) {
    for (const int slot : {0, 1}) addresses.push_back(model.slot_address(static_cast<int64_t>(p), slot));
  }
  return addresses;
}

class Reloads {
 public:
  Reloads(const ReloadCommand& command, const ModelDirectory& directory, LoadOptions options)
      : command_(command), directory_(directory), options_(std::move(options)) {}

  Result<Outcome> run() {
    LW_ASSIGN(model_, load_logged(directory_, options_));
    LW_ASSIGN(const ModelDigest initial, digest_of(*model_));
    Outcome out;
    Json reloads = Json::array();
    out.text = fmt::format("{}  loaded {}\n", initial.model.hex(), command_.model.directory);
    for (const std::string& next : command_.next) {
      LW_ASSIGN(Json entry, reload_one(next, out));
      reloads.push_back(std::move(entry));
    }
    out.json = {{"initial", {{"digest", initial.model.hex()}}}, {"reloads", reloads}, {"ok", ok_}};
    return out;
  }

 private:
  Result<Json> reload_one(const std::string& next, Outcome& out) {
    const auto addresses = addresses_of(*model_);
    const auto begin = Clock::now();
    const Result<UpdateReport> report = reload_from(next);
    const double total = seconds_between(begin, Clock::now());
    LW_ASSIGN(const ModelDigest digest, digest_of(*model_));
    Json entry = {{"directory", next}};
    if (!report) {
      entry["error"] = {{"code", to_string(report.error().code)}, {"message", report.error().message}};
      entry["digest"] = digest.model.hex();
      out.text += fmt::format("{}  refused {}: {}\n", digest.model.hex(), next, report.error().message);
      out.refused = report.error();
      log_line(LogLevel::kWarn, fmt::format("refused {}: {}", next, report.error().message));
      ok_ = false;
      return entry;
    }
    log_line(LogLevel::kInfo, fmt::format("version {} from {} in {:.3f} s, pause {:.1f} us",
                                          report->version.number, next, total, report->pause_us));
    add_report(*report, total, addresses == addresses_of(*model_), entry);
    entry["digest"] = digest.model.hex();
    std::string verdict;
    if (!command_.no_verify) {
      LW_ASSIGN(const Digest cold, cold_digest(next));
      entry["cold_digest"] = cold.hex();
      entry["equal"] = cold == digest.model;
      verdict = cold == digest.model ? ", equal to a cold load" : ", NOT equal to a cold load";
      ok_ = ok_ && cold == digest.model;
    }
    out.text += fmt::format("{}  version {} from {}: {:.2f} ms, pause {:.1f} us{}\n", digest.model.hex(),
                            report->version.number, next, total * 1e3, report->pause_us, verdict);
    return entry;
  }

  Result<UpdateReport> reload_from(const std::string& next) {
    LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(next));
    UpdateOptions update;
    update.label = next;
    return reload(*model_, checkpoint, options_.names, std::move(update));
  }

  void add_report(const UpdateReport& report, double total, bool unmoved, Json& entry) {
    entry["version"] = report.version.number;
    entry["tensors"] = report.tensors;
    entry["source_bytes"] = report.source_bytes;
    entry["seconds"] = {{"total", total},
                        {"stage", report.stage_seconds},
                        {"prepare", report.prepare_seconds},
                        {"commit", report.commit_seconds}};
    entry["pause_us"] = report.pause_us;
    entry["extra_peak_bytes"] = report.extra_peak_bytes;
    entry["predicted_extra_peak_bytes"] = report.predicted_extra_peak_bytes;
    entry["addresses_unchanged"] = unmoved;
    ok_ = ok_ && unmoved;
  }

  // A fresh model of the same description, its plan compiled anew from this directory's tensors.
  Result<Digest> cold_digest(const std::string& next) const {
    LW_ASSIGN(Checkpoint checkpoint, Checkpoint::open(next));
    LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, options_.names));
    const ModelDirectory cold{directory_.description, std::move(checkpoint), std::move(catalog),
                              directory_.quantization};
    LoadOptions options = options_;
    options.mode = CommitMode::kInPlace;
    LW_ASSIGN(const auto model, load_logged(cold, options));
    LW_ASSIGN(const ModelDigest digest, digest_of(*model));
    return digest.model;
  }

  const ReloadCommand& command_;
  const ModelDirectory& directory_;
  const LoadOptions options_;
  std::unique_ptr<LiveModel> model_;
  bool ok_ = true;
};

}  // namespace

Run add_reload(CLI::App& app) {
  auto command = std::make_shared<ReloadCommand>();
  command->model.add_to(app);
  app.add_option("NEW_DIR", command->next, "directories of new weights, in order")->required();
  app.add_option("--mode", command->mode, "flip, copy or in_place");
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
