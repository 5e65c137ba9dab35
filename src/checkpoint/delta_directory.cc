#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "checkpoint/checksum.h"
#include "checkpoint/decode.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

constexpr std::string_view kIndicesEnd = ".indices", kValuesEnd = ".values";

Result<Checkpoint> open_any(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) ? Checkpoint::open_file(path) : Checkpoint::open(path);
}

bool is_pair_half(std::string_view name) {
  return name.ends_with(kIndicesEnd) || name.ends_with(kValuesEnd);
}

// The index's where it speaks of a delta, else the file's.
const std::map<std::string, std::string>& delta_metadata(const Checkpoint& files) {
  return files.index_metadata().contains("delta_encoding") ? files.index_metadata() : files.metadata();
}

bool holds_delta(const Checkpoint& files) {
  if (delta_metadata(files).contains("delta_encoding")) return true;
  return !files.tensors().empty() &&
         std::all_of(files.tensors().begin(), files.tensors().end(),
                     [](const auto& tensor) { return is_pair_half(tensor.name); });
}

// The same error, after the path.
tl::unexpected<Error> at(const std::filesystem::path& path, Error error) {
  error.message = fmt::format("{}: {}", path.string(), error.message);
  return tl::unexpected(std::move(error));
}

template <typename T>
Result<T> at_path(const std::filesystem::path& path, Result<T> result) {
  if (!result) return at(path, std::move(result).error());
  return result;
}

std::string_view without_zeros(std::string_view digits) {
  const bool number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
  while (number && digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

}  // namespace

std::string_view to_string(DeltaEncoding encoding) {
  switch (encoding) {
    case DeltaEncoding::kXor:
      return "xor";
    case DeltaEncoding::kOverwrite:
      return "overwrite";
    case DeltaEncoding::kIndices:
      return "indices";
  }
  return "?";
}

Result<DeltaEncoding> parse_delta_encoding(std::string_view name) {
  for (const auto encoding : {DeltaEncoding::kXor, DeltaEncoding::kOverwrite, DeltaEncoding::kIndices}) {
    if (to_string(encoding) == name) return encoding;
  }
  return fail(ErrorCode::kUnsupported,
              fmt::format("delta_encoding: expected xor, overwrite or indices, got {}", name),
              {"delta_encoding"});
}

int64_t cell_bytes(DType dtype) {
  return std::max(8, bits_of(dtype)) / 8;
}

bool same_version(std::string_view a, std::string_view b) {
  return a.empty() || b.empty() || without_zeros(a) == without_zeros(b);
}

Result<std::string> version_of(const Checkpoint& checkpoint) {
  for (const auto* metadata : {&checkpoint.index_metadata(), &checkpoint.metadata()}) {
    const auto found = metadata->find("version");
    if (found != metadata->end()) return found->second;
  }
  return std::string();
}

Result<bool> DeltaDirectory::is_delta(const std::filesystem::path& path) {
  LW_ASSIGN(const Checkpoint files, open_any(path));
  return holds_delta(files);
}

Result<DeltaDirectory> DeltaDirectory::open(const std::filesystem::path& path) {
  DeltaDirectory delta;
  delta.path_ = path;
  LW_ASSIGN(delta.files_, open_any(path));
  if (!holds_delta(delta.files_)) {
    return fail(
        ErrorCode::kBadCheckpoint,
        fmt::format("{}: expected a delta (delta_encoding in its metadata, or pairs of NAME.indices and "
                    "NAME.values), got a full checkpoint",
                    path.string()),
        {path.string()});
  }
  if (auto status = delta.read_metadata(delta_metadata(delta.files_)); !status)
    return at(path, status.error());
  if (auto status = delta.collect_names(); !status) return at(path, status.error());
  return delta;
}

Status DeltaDirectory::read_metadata(const std::map<std::string, std::string>& metadata) {
  const auto field = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  version_ = field("version");
  base_version_ = field("base_version");
  checksum_format_ = field("checksum_format");
  const std::string encoding = field("delta_encoding"), compression = field("compression_format");
  LW_ASSIGN(encoding_, encoding.empty() ? DeltaEncoding::kIndices : parse_delta_encoding(encoding));
  if (!checksum_format_.empty()) LW_TRY(check_checksum_format(checksum_format_));
  if (encoding_ == DeltaEncoding::kIndices) return {};
  for (const char* key : {"version", "base_version", "checksum_format"}) {
    if (!field(key).empty()) continue;
    return fail(ErrorCode::kBadCheckpoint, fmt::format("metadata.{} is missing", key), {key});
  }
  if (compression == "zstd") return {};
  return fail(ErrorCode::kUnsupported, fmt::format("compression_format: expected zstd, got {}", compression),
              {"compression_format"});
}

Status DeltaDirectory::collect_names() {
  for (const CheckpointTensor& tensor : files_.tensors()) {
    std::string name(tensor.name);
    if (encoding_ == DeltaEncoding::kIndices) {
      const bool indices = name.ends_with(kIndicesEnd);
      if (!is_pair_half(name)) {
        return fail(ErrorCode::kBadCheckpoint,
                    fmt::format("tensor {}: expected names that end in .indices or .values", name), {name});
      }
      name.resize(name.size() - (indices ? kIndicesEnd : kValuesEnd).size());
      const std::string other = name + std::string(indices ? kValuesEnd : kIndicesEnd);
      if (!files_.find(other)) {
        return fail(ErrorCode::kMissingTensor,
                    fmt::format("tensor {} is there without {}", tensor.name, other), {other});
      }
      if (!indices) continue;
    } else if (tensor.view.dtype != DType::kU8) {
      return fail(ErrorCode::kWrongDtype,
                  fmt::format("tensor {}: expected U8, a compressed blob, got {}", name,
                              to_string(tensor.view.dtype)),
                  {name});
    }
    names_.push_back(std::move(name));
  }
  std::sort(names_.begin(), names_.end());
  return {};
}

const std::string* DeltaDirectory::checksum_of(const std::string& name, std::string_view file) const {
  const auto& metadata = files_.metadata_of(file);
  const auto found = metadata.find(name);
  return found == metadata.end() ? nullptr : &found->second;
}

Result<TensorDelta> DeltaDirectory::decode(const std::string& name, const TensorView& base) const {
  if (base.bytes / static_cast<uint64_t>(cell_bytes(base.dtype)) > std::numeric_limits<uint32_t>::max()) {
    return at(path_, {ErrorCode::kUnsupported,
                      fmt::format("tensor {}: deltas hold at most 2^32 - 1 elements", name),
                      {name}});
  }
  if (encoding_ != DeltaEncoding::kIndices) {
    const CheckpointTensor* tensor = files_.find(name);
    if (!tensor)
      return at(path_, {ErrorCode::kUnknownTensor, fmt::format("tensor {} is not in it", name), {name}});
    const bool is_xor = encoding_ == DeltaEncoding::kXor;
    const uint64_t most = is_xor ? base.bytes : sizeof(uint32_t) + base.bytes * (sizeof(uint32_t) + 1);
    auto blob = zstd_decompress({tensor->view.data, tensor->view.bytes}, most);
    if (!blob) {
      Error error = std::move(blob).error();
      error.message = fmt::format("tensor {}: {}", name, error.message);
      error.names = {name};
      return at(path_, std::move(error));
    }
    return at_path(path_, is_xor ? decode_xor(name, base, *blob) : decode_overwrite(name, base, *blob));
  }
  const CheckpointTensor* indices = files_.find(name + std::string(kIndicesEnd));
  const CheckpointTensor* values = files_.find(name + std::string(kValuesEnd));
  if (!indices || !values) {
    return at(path_, {ErrorCode::kUnknownTensor, fmt::format("tensor {} is not in it", name), {name}});
  }
  if (const std::string* promised = checksum_of(name, indices->file)) {
    if (checksum_format_.empty()) {
      return at(path_,
                {ErrorCode::kBadCheckpoint,
                 fmt::format("tensor {}: it has a checksum, but metadata.checksum_format is missing", name),
                 {"checksum_format"}});
    }
    const std::span<const std::byte> payload[] = {{indices->view.data, indices->view.bytes},
                                                  {values->view.data, values->view.bytes}};
    const std::string came = checksum_hex(checksum_format_, payload);
    if (came != *promised) {
      return at(path_, {ErrorCode::kDigestMismatch,
                        fmt::format("tensor {}: its payload has {} {}, expected {}", name, checksum_format_,
                                    came, *promised),
                        {name}});
    }
  }
  return at_path(
      path_, decode_indices(name, base, indices->view, values->view, std::make_shared<Checkpoint>(files_)));
}

Status DeltaDirectory::verify(const std::string& name, std::span<const std::byte> updated) const {
  const CheckpointTensor* tensor = files_.find(name);
  if (encoding_ == DeltaEncoding::kIndices || !tensor) return {};
  const std::string* promised = checksum_of(name, tensor->file);
  if (!promised) {
    return at(path_,
              {ErrorCode::kBadCheckpoint,
               fmt::format("tensor {}: its checksum is missing in __metadata__ of {}", name, tensor->file),
               {name}});
  }
  const std::string came = checksum_hex(checksum_format_, std::span(&updated, 1));
  if (came == *promised) return {};
  return at(
      path_,
      {ErrorCode::kDigestMismatch,
       fmt::format("tensor {}: after the delta it has {} {}, expected {}: it was not made from this base",
                   name, checksum_format_, came, *promised),
       {name}});
}

}  // namespace liveweight
