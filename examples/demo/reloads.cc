#include "demo/reloads.h"

#include <chrono>

#include "liveweight/quantization_error.h"

namespace liveweight::demo {

Result<Reloads> Reloads::prepare(const std::filesystem::path& directory, const Scheme& scheme) {
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  Reloads reloads;
  LW_ASSIGN(reloads.options_.quantization, choose_quantization(opened, QuantizationConfig::uniform(scheme)));
  PlanOptions plan_options;
  plan_options.quantization = reloads.options_.quantization;
  LW_ASSIGN(auto plan, Plan::compile(opened.description, opened.catalog, plan_options));
  LW_ASSIGN(reloads.model_, LiveModel::create(std::move(plan)));
  return reloads;
}

Result<Reloaded> Reloads::take(const std::filesystem::path& directory) {
  const auto before = addresses();
  const auto begin = std::chrono::steady_clock::now();
  LW_ASSIGN(const UpdateReport report, update_from(directory));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  Reloaded out;
  out.version = report.version.number;
  out.reload_ms = took.count() * 1e3;
  out.pause_us = report.pause_us;
  out.addresses_unchanged = addresses() == before;
  LW_ASSIGN(out.digest, live_digest());
  LW_ASSIGN(out.cold_digest, cold_digest(directory));
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(directory));
  LW_ASSIGN(const Snapshot snapshot, model_->pin());
  LW_ASSIGN(const auto errors, quantization_error_of(*model_, snapshot, checkpoint));
  out.quantization_percent = errors.quantized.relative_rms * 100;
  return out;
}

Result<std::optional<Refused>> Reloads::take_bad(const std::filesystem::path& directory) {
  const auto addresses_before = addresses();
  const uint64_t version_before = model_->version().number;
  LW_ASSIGN(const std::string digest_before, live_digest());
  const Result<UpdateReport> report = update_from(directory);
  if (report) return std::optional<Refused>();
  LW_ASSIGN(const std::string digest, live_digest());
  Refused refused{report.error()};
  refused.changed_nothing = digest == digest_before && model_->version().number == version_before &&
                            addresses() == addresses_before;
  return refused;
}

Result<UpdateReport> Reloads::update_from(const std::filesystem::path& directory) {
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(directory));
  UpdateOptions update;
  update.label = directory.filename().string();
  return reload(*model_, checkpoint, options_.names, std::move(update));
}

Result<std::string> Reloads::cold_digest(const std::filesystem::path& directory) const {
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  LoadOptions options = options_;
  options.mode = CommitMode::kInPlace;  // loaded once, so one slot is enough
  LW_ASSIGN(const auto cold, load_model(opened, options));
  LW_ASSIGN(const ModelDigest digest, digest_of(*cold));
  return digest.model.hex();
}

Result<std::string> Reloads::live_digest() const {
  LW_ASSIGN(const ModelDigest digest, digest_of(*model_));
  return digest.model.hex();
}

std::vector<const std::byte*> Reloads::addresses() const {
  std::vector<const std::byte*> all;
  for (size_t p = 0; p < model_->plan().parameters().size(); ++p) {
    for (const int slot : {0, 1}) all.push_back(model_->slot_address(static_cast<int64_t>(p), slot));
  }
  return all;
}

}  // namespace liveweight::demo
