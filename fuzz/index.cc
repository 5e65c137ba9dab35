// model.safetensors.index.json beside two shards: what is not refused has just the tensors that the index
// names, each from the shard where it puts them.
#include <set>

#include "fuzz/input.h"
#include "fuzz/safetensors_file.h"
#include "liveweight/delta.h"

namespace liveweight::fuzz {
namespace {

// A shard of U8 tensors of two bytes each.
std::string shard_of(const std::vector<std::string>& names) {
  std::vector<FileTensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, DType::kU8, {2}, "ab"});
  return safetensors_file(tensors, {{"version", "3"}});
}

void check(std::string_view index) {
  static const Scratch scratch;
  static const bool written = [] {
    scratch.write("a.safetensors", shard_of({"w", "x", "y.indices", "y.values"}));
    scratch.write("b.safetensors", shard_of({"x", "z"}));
    return true;
  }();
  require(written, "the shards are there");
  scratch.write("model.safetensors.index.json", index);
  const auto checkpoint = Checkpoint::open(scratch.path());
  if (!checkpoint) return require_refusal(checkpoint.error());
  std::set<std::string> names;
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    require(names.insert(std::string(tensor.name)).second, "each tensor comes once");
    require(index.find(tensor.file.substr(0, 1)) != std::string_view::npos,
            "each shard is named by the index");
  }
  read_every_byte(*checkpoint);
  require(version_of(*checkpoint).has_value(), "a checkpoint tells its version, or that it has none");
  if (const auto delta = DeltaDirectory::open(scratch.path()); !delta) require_refusal(delta.error());
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(liveweight::fuzz::text_of(data, size));
  return 0;
}
