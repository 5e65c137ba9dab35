// Taking checkpoints into the live model, and what that came to.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "liveweight/digest.h"
#include "liveweight/load.h"

namespace liveweight::demo {

struct Reloaded {
  uint64_t version = 0;
  double reload_ms = 0;  // from opening the directory to the commit
  double pause_us = 0;   // of it, while no step could begin
  std::string digest;
  std::string cold_digest;          // of a fresh model loaded from the same directory
  double quantization_percent = 0;  // relative RMS error of the quantized weights
  bool addresses_unchanged = false;

  bool warm_equals_cold() const { return digest == cold_digest; }
};

struct Refused {
  Error error;
  bool changed_nothing = false;  // digest, version and addresses are those from before
};

class Reloads {
 public:
  // The plan and empty slots for the model of that directory; no version yet.
  static Result<Reloads> prepare(const std::filesystem::path& directory, const Scheme& scheme);

  // One update with all of the directory's weights, and what is measured aside after it.
  Result<Reloaded> take(const std::filesystem::path& directory);

  // The same with weights that must be refused; empty where they were not.
  Result<std::optional<Refused>> take_bad(const std::filesystem::path& directory);

  const LiveModel& model() const { return *model_; }

 private:
  Result<UpdateReport> update_from(const std::filesystem::path& directory);
  Result<std::string> cold_digest(const std::filesystem::path& directory) const;
  Result<std::string> live_digest() const;
  std::vector<const std::byte*> addresses() const;

  LoadOptions options_;
  std::unique_ptr<LiveModel> model_;
};

}  // namespace liveweight::demo
