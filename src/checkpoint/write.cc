#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/file.h"
#include "checkpoint/write.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

std::string header_of(std::span<const std::pair<std::string, TensorView>> tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  for (const auto& [name, view] : tensors) {
    header[name] = {
        {"dtype", to_string(view.dtype)}, {"shape", view.shape}, {"data_offsets", {at, at + view.bytes}}};
    at += view.bytes;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

ReplacementFile::ReplacementFile(const std::filesystem::path& path)
    : path_(path), temporary_(path.string() + fmt::format(".tmp.{}", getpid())) {}

ReplacementFile::~ReplacementFile() {
  if (descriptor_.get() >= 0) unlink(temporary_.c_str());
}

Status ReplacementFile::create() {
  LW_ASSIGN(descriptor_, open_file(temporary_, O_WRONLY | O_CREAT | O_TRUNC, "create"));
  return {};
}

Status ReplacementFile::append(const void* data, uint64_t bytes) {
  const std::span all(static_cast<const std::byte*>(data), bytes);
  LW_TRY(write_file(descriptor_, temporary_, all, bytes_));
  bytes_ += bytes;
  return {};
}

Status ReplacementFile::finish() {
  LW_TRY(sync_file(descriptor_, temporary_));
  LW_TRY(rename_file(temporary_, path_));
  descriptor_ = FileDescriptor();
  return {};
}

Status append_safetensors_header(ReplacementFile& file,
                                 std::span<const std::pair<std::string, TensorView>> tensors,
                                 const std::map<std::string, std::string>& metadata) {
  const std::string header = header_of(tensors, metadata);
  const uint64_t length = header.size();
  LW_TRY(file.append(&length, sizeof length));
  return file.append(header.data(), header.size());
}

Status write_safetensors(const std::filesystem::path& path,
                         std::span<const std::pair<std::string, TensorView>> tensors,
                         const std::map<std::string, std::string>& metadata) {
  ReplacementFile file(path);
  LW_TRY(file.create());
  LW_TRY(append_safetensors_header(file, tensors, metadata));
  for (const auto& [name, view] : tensors) LW_TRY(file.append(view.data, view.bytes));
  return file.finish();
}

Status write_text_file(const std::filesystem::path& path, std::string_view text) {
  ReplacementFile file(path);
  LW_TRY(file.create());
  LW_TRY(file.append(text.data(), text.size()));
  return file.finish();
}

}  // namespace liveweight
