#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checksum.h"
#include "checkpoint/encode.h"
#include "checkpoint/write.h"
#include "liveweight/delta.h"

namespace liveweight {

struct DeltaWriter::State {
  State(const std::filesystem::path& path, DeltaWriteOptions choice)
      : directory(path), options(std::move(choice)) {}

  ReplacementDirectory directory;
  DeltaWriteOptions options;
  // Of the file that comes next:
  std::vector<std::pair<std::string, TensorView>> tensors;
  std::vector<std::shared_ptr<const void>> owners;
  std::map<std::string, std::string> checksums;
  uint64_t pending_bytes = 0;
  // Of all files:
  std::set<std::string> seen;                          // tensors that were compared
  std::vector<std::pair<std::string, size_t>> places;  // tensor, file
  size_t files = 0;

  std::filesystem::path part(size_t file) const {
    return directory.path() / fmt::format("part-{}.safetensors", file);
  }

  std::string name_of(size_t file) const {
    return fmt::format("model-{:05}-of-{:05}.safetensors", file, files);
  }

  void put(std::string name, TensorView view, std::shared_ptr<const void> owner) {
    pending_bytes += view.bytes;
    places.emplace_back(name, files);
    tensors.emplace_back(std::move(name), std::move(view));
    owners.push_back(std::move(owner));
  }

  void put_pair(const TensorDelta& delta) {
    const auto count = static_cast<int64_t>(delta.positions.size());
    const auto positions = std::as_bytes(delta.positions);
    const DType dtype = bits_of(delta.dtype) < 8 ? DType::kU8 : delta.dtype;
    put(delta.name + ".indices", {DType::kU32, {count}, positions.data(), positions.size()}, delta.owner);
    put(delta.name + ".values", {dtype, {count}, delta.values.data(), delta.values.size()}, delta.owner);
    const std::span<const std::byte> payload[] = {positions, delta.values};
    checksums[delta.name] = checksum_hex(options.checksum_format, payload);
  }

  void put_blob(const std::string& name, std::vector<std::byte> compressed, const TensorView& updated) {
    const auto blob = std::make_shared<const std::vector<std::byte>>(std::move(compressed));
    put(name, {DType::kU8, {static_cast<int64_t>(blob->size())}, blob->data(), blob->size()}, blob);
    const std::span<const std::byte> payload(updated.data, updated.bytes);
    checksums[name] = checksum_hex(options.checksum_format, std::span(&payload, 1));
  }

  Status flush() {
    if (tensors.empty()) return {};
    LW_TRY(write_safetensors(part(files), tensors, checksums));
    ++files;
    tensors.clear();
    owners.clear();
    checksums.clear();
    pending_bytes = 0;
    return {};
  }

  std::string index() const {
    nlohmann::ordered_json json;
    auto& metadata = json["metadata"];
    metadata["version"] = options.version;
    metadata["base_version"] = options.base_version;
    metadata["delta_encoding"] = to_string(options.encoding);
    metadata["compression_format"] = options.encoding == DeltaEncoding::kIndices ? "none" : "zstd";
    metadata["checksum_format"] = options.checksum_format;
    json["weight_map"] = nlohmann::ordered_json::object();
    for (const auto& [tensor, file] : places) json["weight_map"][tensor] = name_of(file);
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
};

DeltaWriter::DeltaWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
DeltaWriter::DeltaWriter(DeltaWriter&&) noexcept = default;
DeltaWriter::~DeltaWriter() = default;

Result<DeltaWriter> DeltaWriter::create(const std::filesystem::path& directory, DeltaWriteOptions options) {
  LW_TRY(check_checksum_format(options.checksum_format));
  if (options.version.empty() || options.base_version.empty()) {
    return fail(ErrorCode::kInvalidArgument, "version and base_version: expected a name, got an empty one");
  }
  std::error_code error;
  if (std::filesystem::exists(directory, error) && !std::filesystem::is_empty(directory, error)) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected a new or empty directory, it holds files", directory.string()),
                {directory.string()});
  }
  DeltaWriter writer(std::make_unique<State>(directory, std::move(options)));
  LW_TRY(writer.state_->directory.create());
  return writer;
}

Result<uint64_t> DeltaWriter::add(std::string_view tensor, const TensorView& old, const TensorView& updated) {
  const std::string name(tensor);
  if (!state_->seen.insert(name).second)
    return fail(ErrorCode::kDuplicateTensor, fmt::format("tensor {}: it was added already", name), {name});
  LW_ASSIGN(const TensorDelta delta, compare_tensors(name, old, updated));
  if (delta.positions.empty()) return uint64_t{0};
  State& state = *state_;
  const int level = state.options.compression_level;
  if (state.options.encoding == DeltaEncoding::kIndices) {
    state.put_pair(delta);
  } else if (state.options.encoding == DeltaEncoding::kXor) {
    LW_ASSIGN(auto blob, zstd_compress(encode_xor(old, updated).view(), level));
    state.put_blob(name, std::move(blob), updated);
  } else {
    LW_ASSIGN(const auto plain, encode_overwrite(delta, old));
    LW_ASSIGN(auto blob, zstd_compress(plain, level));
    state.put_blob(name, std::move(blob), updated);
  }
  if (state.pending_bytes >= state.options.shard_bytes) LW_TRY(state.flush());
  return delta.positions.size();
}

Result<uint64_t> DeltaWriter::finish() {
  State& state = *state_;
  LW_TRY(state.flush());
  uint64_t bytes = 0;
  std::error_code error;
  for (size_t file = 0; file < state.files && !error; ++file) {
    bytes += std::filesystem::file_size(state.part(file), error);
    std::filesystem::rename(state.part(file), state.directory.path() / state.name_of(file), error);
  }
  if (error) return fail(ErrorCode::kIo, fmt::format("cannot name the delta's files: {}", error.message()));
  const std::string index = state.index();
  LW_TRY(write_text_file(state.directory.path() / "model.safetensors.index.json", index));
  LW_TRY(state.directory.finish());
  return bytes + index.size();
}

}  // namespace liveweight
