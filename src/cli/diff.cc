#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/follow_versions.h"
#include "liveweight/delta.h"

namespace liveweight::cli {
namespace {

struct DiffCommand {
  std::string old_directory, new_directory, out;
  std::string encoding = "indices";
  std::string base_version, version;
  std::string checksum = "xxh3-128";
};

// What a flag says, else what the checkpoint was written with, else `otherwise`.
Result<std::string> version_from(const std::string& flag, const Checkpoint& checkpoint,
                                 const std::string& otherwise) {
  if (!flag.empty()) return flag;
  LW_ASSIGN(const std::string recorded, version_of(checkpoint));
  return recorded.empty() ? otherwise : recorded;
}

std::string version_after(const std::string& version) {
  const auto number = version_number(version);
  return number ? std::to_string(*number + 1) : "1";
}

Result<Checkpoint> open_full(const std::string& directory) {
  LW_ASSIGN(const bool is_delta, DeltaDirectory::is_delta(directory));
  if (!is_delta) return Checkpoint::open(directory);
  return fail(ErrorCode::kBadCheckpoint,
              fmt::format("{}: expected a full checkpoint, got a delta (apply makes one of it)", directory),
              {directory});
}

Status choose_versions(const DiffCommand& command, const Checkpoint& old, const Checkpoint& updated,
                       DeltaWriteOptions& options) {
  LW_ASSIGN(options.base_version, version_from(command.base_version, old, "0"));
  LW_ASSIGN(options.version, version_from(command.version, updated, version_after(options.base_version)));
  if (!same_version(options.base_version, options.version)) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("expected two versions, got {} for {} and for {}: say --base-version or --new-version",
                  options.version, command.old_directory, command.new_directory),
      {"version"});
}

Status check_same_tensors(const Checkpoint& old, const Checkpoint& updated) {
  for (const CheckpointTensor& tensor : old.tensors()) {
    if (updated.find(tensor.name)) continue;
    return fail(ErrorCode::kMissingTensor,
                fmt::format("tensor {} is in {} but not in {}", tensor.name, old.directory().string(),
                            updated.directory().string()),
                {std::string(tensor.name)});
  }
  for (const CheckpointTensor& tensor : updated.tensors()) {
    if (old.find(tensor.name)) continue;
    return fail(ErrorCode::kUnknownTensor,
                fmt::format("tensor {} is in {} but not in {}", tensor.name, updated.directory().string(),
                            old.directory().string()),
                {std::string(tensor.name)});
  }
  return {};
}

Result<Outcome> diff(const DiffCommand& command) {
  const auto begin = Clock::now();
  DeltaWriteOptions options;
  LW_ASSIGN(options.encoding, parse_delta_encoding(command.encoding));
  options.checksum_format = command.checksum;
  LW_ASSIGN(const Checkpoint old, open_full(command.old_directory));
  LW_ASSIGN(const Checkpoint updated, open_full(command.new_directory));
  LW_TRY(check_same_tensors(old, updated));
  LW_TRY(choose_versions(command, old, updated, options));
  LW_ASSIGN(DeltaWriter writer, DeltaWriter::create(command.out, options));
  Json tensors = Json::array();
  uint64_t changed = 0, elements = 0, source_bytes = 0;
  for (const CheckpointTensor& tensor : old.tensors()) {
    LW_ASSIGN(const uint64_t count, writer.add(tensor.name, tensor.view, updated.find(tensor.name)->view));
    const auto all = static_cast<uint64_t>(element_count(tensor.view.shape));
    tensors.push_back({{"name", tensor.name}, {"elements", all}, {"changed", count}});
    changed += count;
    elements += all;
    source_bytes += 2 * tensor.view.bytes;
  }
  LW_TRY(old.check_unchanged());
  LW_TRY(updated.check_unchanged());
  LW_ASSIGN(const uint64_t bytes, writer.finish());
  const double seconds = seconds_since(begin);
  const double share = elements ? static_cast<double>(changed) / static_cast<double>(elements) : 0.0;
  Outcome out;
  out.json = {{"directory", command.out},
              {"encoding", command.encoding},
              {"version", options.version},
              {"base_version", options.base_version},
              {"changed", changed},
              {"elements", elements},
              {"share", share},
              {"source_bytes", source_bytes},
              {"bytes", bytes},
              {"seconds", seconds},
              {"tensors", tensors}};
  out.text = fmt::format("{}: version {} on {}: {} of {} elements changed ({:.4f} %), {} in {:.2f} s\n",
                         command.out, options.version, options.base_version, changed, elements, share * 100,
                         human_bytes(bytes), seconds);
  return out;
}

}  // namespace

Run add_diff(CLI::App& app) {
  auto command = std::make_shared<DiffCommand>();
  add_path(app, "OLD_DIR", command->old_directory, "the version that the delta applies on")->required();
  add_path(app, "NEW_DIR", command->new_directory, "the version that it leads to")->required();
  add_path(app, "OUT_DIR", command->out, "a new or empty directory for the delta")->required();
  app.add_option("--encoding", command->encoding, "xor, overwrite or indices")
      ->check(CLI::IsMember({"xor", "overwrite", "indices"}));
  app.add_option("--base-version", command->base_version,
                 "name of the old version (default: recorded, else 0)");
  app.add_option("--new-version", command->version,
                 "name of the new version (default: recorded, else the number after the old one's, or 1)");
  app.add_option("--checksum", command->checksum, "xxh3-128 or adler32")
      ->check(CLI::IsMember({"xxh3-128", "adler32"}));
  return [command] { return diff(*command); };
}

}  // namespace liveweight::cli
