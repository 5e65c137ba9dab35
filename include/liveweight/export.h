// A high-precision checkpoint, quantized as a live model would be and written as a checkpoint that other
// engines load, and that loads here as it is with the same weights to the bit (docs/quantization.md says what
// each format is).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "liveweight/load.h"

namespace liveweight {

enum class ExportFormat : uint8_t {
  kFp8,                // DeepSeek's: fp8_per_block with `weight_scale_inv`
  kCompressedTensors,  // int8, fp8, and packed int4 with integer zero points or none
  kTorchao,            // tensor subclasses flattened into safetensors
};

Result<ExportFormat> parse_export_format(std::string_view name);  // "fp8", "compressed-tensors", "torchao"
std::string_view to_string(ExportFormat format);

struct ExportOptions {
  QuantizationConfig quantization;
  NameMap names;                       // of the source
  std::optional<ExportFormat> format;  // empty: the one that holds the schemes' exact values
  uint64_t shard_bytes = 5'000'000'000;
};

struct ExportReport {
  ExportFormat format = ExportFormat::kCompressedTensors;
  uint64_t source_bytes = 0;  // of the checkpoint tensors that were read
  uint64_t bytes = 0;         // of the tensors that were written
  int64_t tensors = 0;
  int64_t files = 0;
};

// Writes `out`: the weights under their checkpoint names in shards, config.json with the format's
// quantization_config, and copies of the directory's tokenizer and other small files. `out` must not exist or
// be an empty directory; it appears whole or not at all. Takes the memory of the quantized model, and of one
// shard at most where a format stores codes differently than a slot does. kUnsupported, with the name of the
// tensor, where the format cannot hold a scheme exactly; kInvalidArgument where nothing is to be quantized.
Result<ExportReport> export_quantized(const ModelDirectory& directory, const std::filesystem::path& out,
                                      const ExportOptions& options);

}  // namespace liveweight
