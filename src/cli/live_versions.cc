#include "cli/live_versions.h"

#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "base/temporary_folder.h"
#include "checkpoint/mirror_files.h"
#include "cli/follow_versions.h"
#include "cli/log.h"

namespace liveweight::cli {
namespace {

std::vector<const std::byte*> addresses_of(const Ranks& ranks) {
  std::vector<const std::byte*> addresses;
  for (const auto& rank : ranks) {
    for (size_t p = 0; p < rank->plan().parameters().size(); ++p) {
      for (const int slot : {0, 1}) addresses.push_back(rank->slot_address(static_cast<int64_t>(p), slot));
    }
  }
  return addresses;
}

// Of several ranks what they took one after another; what came, and the number, is the same for all.
UpdateReport merged(const std::vector<UpdateReport>& reports) {
  UpdateReport all = reports.front();
  for (size_t rank = 1; rank < reports.size(); ++rank) {
    const UpdateReport& report = reports[rank];
    all.whole_units += report.whole_units;
    all.mirror_bytes += report.mirror_bytes;
    all.stage_seconds += report.stage_seconds;
    all.prepare_seconds += report.prepare_seconds;
    all.commit_seconds += report.commit_seconds;
    all.pause_us += report.pause_us;
    all.extra_peak_bytes += report.extra_peak_bytes;
    all.predicted_extra_peak_bytes += report.predicted_extra_peak_bytes;
  }
  return all;
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

Json delta_entry(const DeltaDirectory& delta, const std::vector<DeltaReport>& reports, double total) {
  const DeltaReport& report = reports.front();
  std::vector<UpdateReport> updates;
  uint64_t touched_units = 0;
  for (const DeltaReport& rank : reports) {
    updates.push_back(rank.update);
    touched_units += rank.touched_units;
  }
  const UpdateReport update = merged(updates);
  Json entry = entry_of(update, delta.path(), total);
  entry["seconds"]["decode"] = report.decode_seconds;
  entry["seconds"]["verify"] = report.verify_seconds;
  entry["delta"] = {{"encoding", to_string(delta.encoding())},
                    {"base_version", report.base_version},
                    {"version", report.version},
                    {"changed", update.changed_elements},
                    {"touched_units", touched_units},
                    {"whole_units", update.whole_units},
                    {"mirror_bytes", update.mirror_bytes}};
  return entry;
}

// Of a mirror's version; none where it is empty, or its version no number.
std::optional<uint64_t> number_of(const Mirror& mirror) {
  return mirror.empty() ? std::nullopt : version_number(mirror.version());
}

// All that was noted is in the mirror's bytes, and nobody changes them while what this returns lives.
Result<std::shared_ptr<void>> hold_settled(Mirror& mirror) {
  while (true) {
    LW_TRY(mirror.settle());
    LW_ASSIGN(auto hold, mirror.hold());
    if (!mirror.unsettled()) return hold;
  }
}

}  // namespace

Status LiveVersions::open_mirror() {
  if (mirror_path_.empty() || mirror_) return {};
  LW_ASSIGN(mirror_, Mirror::open(mirror_path_));
  return {};
}

Status LiveVersions::attach_mirror() {
  for (const auto& rank : ranks_) LW_TRY(rank->attach_mirror(mirror_));
  return {};
}

Status LiveVersions::put_in_mirror(const Checkpoint& checkpoint) {
  if (!shares_mirror_) return replace_mirror(checkpoint);
  // One process after another looks what is there.
  LW_ASSIGN(const FileLock turn,
            FileLock::take(std::filesystem::path(mirror_path_) / "turn", FileLock::Kind::kExclusive));
  {
    LW_ASSIGN(const auto hold, mirror_->hold());
    const auto there = number_of(*mirror_), own = version_number(version_);
    if (there && own && *there == *own) return attach_mirror();
    if (there && own && *there > *own) return {};  // which the next version will be taken from
  }
  return replace_mirror(checkpoint);
}

// Whoever put the current version there.
Status LiveVersions::attach_where_current() {
  LW_ASSIGN(const auto hold, mirror_->hold());
  const auto there = number_of(*mirror_);
  return there && there == version_number(version_) ? attach_mirror() : Status{};
}

Status LiveVersions::replace_mirror(const Checkpoint& checkpoint) {
  LW_TRY(mirror_checkpoint(*ranks_.front(), mirror_, checkpoint, options_.names, version_));
  return attach_mirror();
}

Status LiveVersions::load(std::string version) {
  LW_TRY(open_mirror());
  LW_ASSIGN(ranks_, load_ranks(directory_, options_, group_));
  addresses_ = addresses_of(ranks_);
  version_ = std::move(version);
  base_ = directory_.checkpoint.directory();
  return mirror_ ? put_in_mirror(directory_.checkpoint) : Status{};
}

Status LiveVersions::resume(std::shared_ptr<Mirror> mirror) {
  mirror_ = std::move(mirror);
  LW_ASSIGN(const auto hold, hold_settled(*mirror_));
  LW_ASSIGN(Checkpoint checkpoint, mirror_->checkpoint());
  LW_ASSIGN(TensorCatalog catalog, catalog_of(checkpoint, {}));
  const ModelDirectory mirrored{directory_.description, std::move(checkpoint), std::move(catalog),
                                directory_.quantization};
  LoadOptions options = options_;
  options.names = {};
  LW_ASSIGN(ranks_, load_ranks(mirrored, options, group_));
  addresses_ = addresses_of(ranks_);
  version_ = mirror_->version();
  return attach_mirror();
}

Result<std::optional<Json>> LiveVersions::take_mirrored(uint64_t current) {
  if (!mirror_) return std::nullopt;
  const auto begin = Clock::now();
  LW_ASSIGN(const auto hold, hold_settled(*mirror_));
  const auto there = number_of(*mirror_);
  if (!there || *there <= current) return std::nullopt;
  LW_ASSIGN(const Checkpoint checkpoint, mirror_->checkpoint());
  UpdateOptions update;
  update.label = mirror_->version();
  LW_ASSIGN(const auto reports, reload(pointers_to(ranks_), checkpoint, {}, update));
  version_ = mirror_->version();
  to_mirror_.reset();
  LW_TRY(attach_mirror());
  return entry_of(merged(reports), mirror_path_, seconds_since(begin));
}

Result<Json> LiveVersions::take(const std::filesystem::path& path, const std::string& name) {
  Result<Json> taken = take_any(path, name);
  if (!taken && !taken.error().message.starts_with(path.string())) {
    taken.error().message = fmt::format("{}: {}", path.string(), taken.error().message);
  }
  return taken;
}

Result<Json> LiveVersions::take_any(const std::filesystem::path& path, const std::string& name) {
  LW_ASSIGN(const bool is_delta, DeltaDirectory::is_delta(path));
  return is_delta ? take_delta(path, name) : take_checkpoint(path, name);
}

Result<Json> LiveVersions::take_checkpoint(const std::filesystem::path& path, const std::string& name) {
  const auto begin = Clock::now();
  LW_ASSIGN(Checkpoint checkpoint, Checkpoint::open(path));
  UpdateOptions update;
  update.label = path.string();
  LW_ASSIGN(const std::string version, version_of(checkpoint));
  LW_ASSIGN(const auto reports, reload(pointers_to(ranks_), checkpoint, options_.names, update));
  const double total = seconds_since(begin);
  version_ = version.empty() ? name : version;
  base_ = path;
  deltas_.clear();
  if (mirror_) to_mirror_ = std::move(checkpoint);
  return entry_of(merged(reports), path, total);
}

Result<Json> LiveVersions::take_delta(const std::filesystem::path& path, const std::string& name) {
  const auto begin = Clock::now();
  LW_ASSIGN(const DeltaDirectory delta, DeltaDirectory::open(path));
  const std::string version = delta.version().empty() ? name : delta.version();
  UpdateOptions update;
  update.label = version.empty() ? path.string() : version;
  LW_ASSIGN(const auto reports,
            reload_delta(pointers_to(ranks_), delta, version_, options_.names, std::move(update)));
  const double total = seconds_since(begin);
  version_ = version;
  deltas_.push_back(path);
  return delta_entry(delta, reports, total);
}

Status LiveVersions::follow_up(Json& entry) {
  if (!to_mirror_ && !entry.contains("delta")) return {};
  const auto begin = Clock::now();
  if (to_mirror_) {
    const Checkpoint checkpoint = std::move(*to_mirror_);
    to_mirror_.reset();
    LW_TRY(put_in_mirror(checkpoint));
  }
  // A dense update writes the next slots anyway.
  for (const auto& rank : ranks_) {
    if (entry.contains("delta")) LW_TRY(rank->catch_up());
  }
  if (mirror_ && shares_mirror_) LW_TRY(attach_where_current());
  entry["seconds"]["behind"] = seconds_since(begin);
  return {};
}

bool LiveVersions::addresses_unchanged() const {
  return addresses_ == addresses_of(ranks_);
}

Result<Digest> LiveVersions::digest() const {
  LW_ASSIGN(const ModelDigest digest, digest_of(ranks_, directory_, options_));
  return digest.model;
}

Result<Digest> LiveVersions::cold_digest() const {
  if (deltas_.empty()) return cold_digest_of(base_);
  LW_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("liveweight"));
  LW_TRY(apply_deltas(base_, deltas_, folder.path() / "patched", directory_.description.aliases,
                      options_.names.as_function()));
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
  LW_ASSIGN(const Ranks ranks, load_ranks(cold, options, group_));
  LW_ASSIGN(const ModelDigest digest, digest_of(ranks, cold, options));
  return digest.model;
}

}  // namespace liveweight::cli
