#include "cli/live_versions.h"

#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "base/temporary_folder.h"
#include "cli/log.h"
#include "liveweight/digest.h"

namespace liveweight::cli {
namespace {

std::vector<const std::byte*> addresses_of(const LiveModel& model) {
  std::vector<const std::byte*> addresses;
  for (size_t p = 0; p < model.plan().parameters().size(); ++p) {
    for (const int slot : {0, 1}) addresses.push_back(model.slot_address(static_cast<int64_t>(p), slot));
  }
  return addresses;
}

Json entry_of(const UpdateReport& report, const std::filesystem::path& path, double total) {
  Json entry = {{"directory", path.string()}};
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
  return entry;
}

}  // namespace

Status LiveVersions::open_mirror() {
  if (mirror_path_.empty() || mirror_) return {};
  LW_ASSIGN(mirror_, Mirror::open(mirror_path_));
  return {};
}

Status LiveVersions::load(std::string version) {
  LW_TRY(open_mirror());
  LW_ASSIGN(model_, load_logged(directory_, options_));
  addresses_ = addresses_of(*model_);
  version_ = std::move(version);
  base_ = directory_.checkpoint.directory();
  if (!mirror_) return {};
  return mirror_checkpoint(*model_, mirror_, directory_.checkpoint, options_.names, version_);
}

Status LiveVersions::resume(std::shared_ptr<Mirror> mirror) {
  mirror_ = std::move(mirror);
  LW_TRY(mirror_->settle());
  LW_ASSIGN(Checkpoint checkpoint, mirror_->checkpoint());
  LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, {}));
  const ModelDirectory mirrored{directory_.description, std::move(checkpoint), std::move(catalog),
                                directory_.quantization};
  LoadOptions options = options_;
  options.names = {};
  LW_ASSIGN(model_, load_logged(mirrored, options));
  addresses_ = addresses_of(*model_);
  version_ = mirror_->version();
  return model_->attach_mirror(mirror_);
}

Result<Json> LiveVersions::take(const std::filesystem::path& path) {
  LW_ASSIGN(const bool is_delta, DeltaDirectory::is_delta(path));
  return is_delta ? take_delta(path) : take_checkpoint(path);
}

Result<Json> LiveVersions::take_checkpoint(const std::filesystem::path& path) {
  const auto begin = Clock::now();
  LW_ASSIGN(Checkpoint checkpoint, Checkpoint::open(path));
  UpdateOptions update;
  update.label = path.string();
  LW_ASSIGN(const UpdateReport report, reload(*model_, checkpoint, options_.names, std::move(update)));
  const double total = seconds_since(begin);
  LW_ASSIGN(version_, version_of(checkpoint));
  base_ = path;
  deltas_.clear();
  if (mirror_) to_mirror_ = std::move(checkpoint);
  return entry_of(report, path, total);
}

Result<Json> LiveVersions::take_delta(const std::filesystem::path& path) {
  const auto begin = Clock::now();
  LW_ASSIGN(const DeltaDirectory delta, DeltaDirectory::open(path));
  LW_ASSIGN(const DeltaReport report, reload_delta(*model_, delta, version_, options_.names));
  const double total = seconds_since(begin);
  version_ = report.version;
  deltas_.push_back(path);
  Json entry = entry_of(report.update, path, total);
  entry["seconds"]["decode"] = report.decode_seconds;
  entry["seconds"]["verify"] = report.verify_seconds;
  entry["delta"] = {{"encoding", to_string(delta.encoding())},
                    {"base_version", report.base_version},
                    {"version", report.version},
                    {"changed", report.update.changed_elements},
                    {"touched_units", report.touched_units},
                    {"whole_units", report.update.whole_units},
                    {"mirror_bytes", report.update.mirror_bytes}};
  return entry;
}

Status LiveVersions::follow_up(Json& entry) {
  if (!to_mirror_ && !entry.contains("delta")) return {};
  const auto begin = Clock::now();
  if (to_mirror_) {
    const Checkpoint checkpoint = std::move(*to_mirror_);
    to_mirror_.reset();
    LW_TRY(mirror_checkpoint(*model_, mirror_, checkpoint, options_.names, version_));
  }
  // A dense update writes the next slots anyway.
  if (entry.contains("delta")) LW_TRY(model_->catch_up());
  entry["seconds"]["behind"] = seconds_since(begin);
  return {};
}

bool LiveVersions::addresses_unchanged() const {
  return addresses_ == addresses_of(*model_);
}

Result<Digest> LiveVersions::cold_digest() const {
  if (deltas_.empty()) return cold_digest_of(base_);
  LW_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("liveweight"));
  LW_TRY(apply_deltas(base_, deltas_, folder.path() / "patched"));
  return cold_digest_of(folder.path() / "patched");
}

// A fresh model of the same description, its plan compiled anew from this directory's tensors.
Result<Digest> LiveVersions::cold_digest_of(const std::filesystem::path& directory) const {
  LW_ASSIGN(Checkpoint checkpoint, Checkpoint::open(directory));
  LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, options_.names));
  const ModelDirectory cold{directory_.description, std::move(checkpoint), std::move(catalog),
                            directory_.quantization};
  LoadOptions options = options_;
  options.mode = CommitMode::kInPlace;
  LW_ASSIGN(const auto model, load_logged(cold, options));
  LW_ASSIGN(const ModelDigest digest, digest_of(*model));
  return digest.model;
}

}  // namespace liveweight::cli
