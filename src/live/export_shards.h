// Tensors into the safetensors files of a Hugging Face directory.
#pragma once

#include <filesystem>

#include "live/export_writer.h"

namespace liveweight {

// Writes `model.safetensors`, or numbered shards of at most `shard_bytes` each (or of one larger tensor) and
// their index. Tensors of wider elements come first, so that every one is aligned, then by name: the order in
// which the safetensors library writes. Gives the number of safetensors files.
Result<int64_t> write_shards(const std::filesystem::path& directory, const ExportContents& contents,
                             uint64_t shard_bytes);

}  // namespace liveweight
