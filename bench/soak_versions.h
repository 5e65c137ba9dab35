// The versions between which a soak moves a model, written before it begins, with what a cold load of each
// gives: three families, each of a full checkpoint, the same with some parameters of other values (for
// partial updates) and the same with one element of a hundred changed (for deltas).
#pragma once

#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "liveweight/digest.h"
#include "liveweight/engine.h"
#include "liveweight/load.h"

namespace liveweight::bench {

using Random = std::mt19937_64;

inline size_t draw_below(Random& random, size_t count) {
  return std::uniform_int_distribution<size_t>(0, count - 1)(random);
}

struct SoakVersion {
  std::string name;
  std::filesystem::path directory;
  Digest digest;                    // of a cold load
  std::vector<Completion> answers;  // of a cold load, by request
};

// A way from one version to another, other than loading all of it.
struct SoakStep {
  size_t to = 0;
  std::vector<std::string> scope;   // a partial update: the tensors that differ
  std::filesystem::path directory;  // a delta
};

class SoakVersions {
 public:
  // Of the same model as `directory`, nine times its size, in a folder that goes when this does. kUnsupported
  // where a weight is not BF16, F16 or F32.
  static Result<SoakVersions> make(const ModelDirectory& directory, const LoadOptions& load,
                                   const EngineOptions& engine, uint64_t seed);

  const std::vector<SoakVersion>& all() const { return all_; }
  const std::vector<Request>& requests() const { return requests_; }
  // Tensors that a version needs, and that no other tensor has to be equal to.
  const std::vector<std::string>& tensors() const { return tensors_; }
  const SoakVersion* find(const std::string& name) const;
  std::optional<SoakStep> partial_step(size_t from) const;
  std::optional<SoakStep> delta_step(size_t from) const;
  std::filesystem::path mirror_directory() const { return folder_.path() / "mirror"; }

 private:
  explicit SoakVersions(TemporaryFolder folder) : folder_(std::move(folder)) {}
  void collect_tensors(const Plan& plan, const Checkpoint& checkpoint);
  void draw_scopes(const Plan& plan, Random& random);
  void draw_requests(const ModelConfig& config, int64_t max_tokens, Random& random);
  Status write_all(const ModelDirectory& directory, Random& random);
  Status write_deltas(size_t family) const;
  Status load_cold(const LoadOptions& load, const EngineOptions& engine);

  TemporaryFolder folder_;
  std::vector<std::string> tensors_;
  std::vector<std::vector<std::string>> scopes_;  // by family
  std::vector<Request> requests_;
  std::vector<SoakVersion> all_;
};

}  // namespace liveweight::bench
