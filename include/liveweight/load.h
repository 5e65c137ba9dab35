// From a Hugging Face directory to a live model, and from another directory into it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "liveweight/checkpoint.h"
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
                            UpdateOptions options = {});

}  // namespace liveweight
