// From a Hugging Face directory to a live model, and from another directory into it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"
#include "liveweight/error.h"
#include "liveweight/live_model.h"
#include "liveweight/model.h"
#include "liveweight/plan.h"
#include "liveweight/quantization_config.h"

namespace liveweight {

// A directory's configuration, weights and what they ask for.
struct ModelDirectory {
  ModelDescription description;
  Checkpoint checkpoint;
  TensorCatalog catalog;            // by canonical name
  QuantizationConfig quantization;  // of its own config.json
};

Result<ModelDirectory> open_model_directory(const std::filesystem::path& directory,
                                            const NameMap& names = {});

// The configuration's description only, for callers that need no weights.
Result<ModelConfig> read_model_config(const std::filesystem::path& directory);

// What the configuration ties, for `apply_deltas`; nothing where it is missing or not of a model that is
// known.
TiedTensors tied_tensors(const std::filesystem::path& directory);

// dtypes and shapes by canonical name.
Result<TensorCatalog> catalog_of(const Checkpoint& checkpoint, const NameMap& names);

// What to quantize with: `asked` (from --quant or --quant-config), or the checkpoint's own configuration. An
// offline-quantized checkpoint runs only as it is: kUnsupported, with a sentence that says what it is, where
// anything else is asked of it.
Result<QuantizationConfig> choose_quantization(const ModelDirectory& directory,
                                               const std::optional<QuantizationConfig>& asked);

struct LoadOptions {
  QuantizationConfig quantization;
  TensorParallel tensor_parallel;
  CommitMode mode = CommitMode::kFlip;
  NameMap names;
  std::string label;
};

// Compiles the plan and loads the first version.
Result<std::unique_ptr<LiveModel>> load_model(const ModelDirectory& directory, const LoadOptions& options);

// One update that brings every tensor of the checkpoint, whose files must not change meanwhile (it sets
// options.verify_source). All or nothing; nothing is read again after commit.
Result<UpdateReport> reload(LiveModel& model, const Checkpoint& checkpoint, const NameMap& names = {},
                            const UpdateOptions& options = {});
// The same for the ranks of one model, which all take it or none (commit_together); a report for each.
Result<std::vector<UpdateReport>> reload(std::span<LiveModel* const> ranks, const Checkpoint& checkpoint,
                                         const NameMap& names = {}, const UpdateOptions& options = {});

// Puts that checkpoint, which the model's current version was loaded from, into the mirror and attaches it.
// On disk it is copied: for the time behind a commit. A rollback leaves it behind. kStaleVersion where
// the current version is not that of `version_number`, if one is given; kBusy while an update is open, and
// for updates that begin meanwhile.
Status mirror_checkpoint(LiveModel& model, std::shared_ptr<Mirror> mirror, const Checkpoint& checkpoint,
                         const NameMap& names, const std::string& version,
                         std::optional<uint64_t> version_number = {});
// `directory` with the weights that the mirror on disk holds in place of its own, so that a model goes on
// from there after a restart: load it with options whose `names` are empty, then attach the mirror. Settles
// it.
Result<ModelDirectory> with_mirrored_weights(const ModelDirectory& directory, Mirror& mirror);

struct DeltaReport {
  UpdateReport update;
  std::string base_version, version;
  uint64_t touched_units = 0;  // quantization units with a changed element; counted after the commit
  double decode_seconds = 0;   // from files to positions and values
  double verify_seconds = 0;   // checksums of whole tensors, where the format has them
};

// One update that brings what the delta changes; all it names must be tensors of the model. `version` is that
// of the current weights (empty: not known): kStaleVersion where the delta applies on another. The encodings
// xor and overwrite need the mirror, whatever they change. The update's label is the delta's version where
// options.label is empty. The delta's files must not change meanwhile (it sets options.verify_source), nor
// before the model has caught up.
Result<DeltaReport> reload_delta(LiveModel& model, const DeltaDirectory& delta, const std::string& version,
                                 const NameMap& names = {}, UpdateOptions options = {});
// The same for the ranks of one model, which all take it or none (commit_together); a report for each. They
// may share one mirror where the update has a label, by which all but the first see that it is noted.
Result<std::vector<DeltaReport>> reload_delta(std::span<LiveModel* const> ranks, const DeltaDirectory& delta,
                                              const std::string& version, const NameMap& names = {},
                                              UpdateOptions options = {});

}  // namespace liveweight
