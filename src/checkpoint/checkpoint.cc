#include "liveweight/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <regex>
#include <set>

#include "base/threads.h"
#include "checkpoint/shard_index.h"

namespace liveweight {
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

tl::unexpected<Error> bad(const std::filesystem::path& where, const std::string& what,
                          std::vector<std::string> names = {}) {
  names.insert(names.begin(), where.string());
  return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: {}", where.string(), what), std::move(names));
}

// model-00002-of-00005.safetensors: every one of the five must be there.
Status check_numbered(const std::filesystem::path& directory, const std::vector<std::string>& names) {
  static const std::regex kNumbered(R"((.*)-(\d{5})-of-(\d{5})\.safetensors)");
  const std::set<std::string> present(names.begin(), names.end());
  for (const std::string& name : names) {
    std::smatch match;
    if (!std::regex_match(name, match, kNumbered)) continue;
    const int count = std::stoi(match[3]);
    for (int i = 1; i <= count; ++i) {
      const std::string expected = fmt::format("{}-{:05}-of-{:05}.safetensors", match[1].str(), i, count);
      if (!present.contains(expected)) {
        return bad(directory, fmt::format("shard {} is missing ({} is there)", expected, name), {expected});
      }
    }
  }
  return {};
}

Result<std::vector<std::string>> shards_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".safetensors") names.push_back(it->path().filename().string());
  }
  if (error) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: cannot read the directory: {}", directory.string(), error.message()),
                {directory.string()});
  }
  if (names.empty()) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected {}, {} or other *.safetensors files, found none",
                            directory.string(), kIndexName, kSingleName),
                {directory.string()});
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return fail(ErrorCode::kIo, fmt::format("{}: expected a directory", directory.string()),
                {directory.string()});
  }
  if (std::filesystem::exists(directory / kIndexName, error)) {
    LW_ASSIGN(const std::string text, read_text_file(directory / kIndexName));
    LW_TRY(checkpoint.add_indexed(text));
    return checkpoint;
  }
  if (std::filesystem::exists(directory / kSingleName, error)) {
    LW_TRY(checkpoint.add_files({kSingleName}, nullptr));
    return checkpoint;
  }
  LW_ASSIGN(const std::vector<std::string> names, shards_in(directory));
  LW_TRY(check_numbered(directory, names));
  LW_TRY(checkpoint.add_files(names, nullptr));
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open_file(const std::filesystem::path& file) {
  Checkpoint checkpoint;
  checkpoint.directory_ = file.parent_path();
  LW_TRY(checkpoint.add_files({file.filename().string()}, nullptr));
  return checkpoint;
}

Status Checkpoint::add_indexed(const std::string& index_text) {
  const std::filesystem::path path = directory_ / kIndexName;
  LW_ASSIGN(ShardIndex index, ShardIndex::parse(path, index_text));
  for (const std::string& shard : index.shards()) {
    std::error_code error;
    if (std::filesystem::exists(directory_ / shard, error)) continue;
    return bad(path, fmt::format("shard {} is missing", shard), {shard});
  }
  LW_TRY(add_files(index.shards(),
                   [&](std::string_view tensor, size_t shard) { return index.puts(tensor, shard); }));
  index_metadata_ = index.take_metadata();
  if (tensors_->size() == index.tensors()) return {};
  const auto [tensor, shard] =
      index.first_without([&](std::string_view name) { return by_name_->contains(name); });
  return bad(path, fmt::format("tensor {} is not in {}, where weight_map puts it", tensor, shard),
             {tensor, shard});
}

// Headers are parsed by all threads.
Status Checkpoint::add_files(const std::vector<std::string>& names, const Takes& takes) {
  std::vector<std::optional<Result<std::shared_ptr<const SafetensorsFile>>>> opened(names.size());
  ThreadPool::shared().parallel_for(static_cast<int64_t>(names.size()), [&](int64_t i) {
    opened[i] = SafetensorsFile::open(directory_ / names[i]);
  });
  size_t tensors = 0;
  for (auto& file : opened) {
    if (!*file) return tl::unexpected(std::move(*file).error());
    tensors += (**file)->header().tensors.size();
  }
  tensors_->reserve(tensors);
  by_name_->reserve(tensors);
  for (size_t i = 0; i < names.size(); ++i) LW_TRY(add_file(**opened[i], i, takes));
  return {};
}

// Of an indexed shard only the tensors that the index puts there are taken, as Hugging Face does.
Status Checkpoint::add_file(std::shared_ptr<const SafetensorsFile> file, size_t place, const Takes& takes) {
  const std::string_view path = file->path();
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const SafetensorsEntry& entry : file->header().tensors) {
    if (takes && !takes(entry.name, place)) continue;
    if (!by_name_->emplace(entry.name, tensors_->size()).second) {
      return bad(path, fmt::format("tensor {} is in another file of the directory too", entry.name),
                 {entry.name});
    }
    tensors_->push_back({entry.name, file->view(entry), std::string(name)});
  }
  files_.push_back(std::move(file));
  return {};
}

const CheckpointTensor* Checkpoint::find(const std::string& name) const {
  const auto found = by_name_->find(name);
  return found == by_name_->end() ? nullptr : &(*tensors_)[found->second];
}

const std::map<std::string, std::string>& Checkpoint::metadata() const {
  static const std::map<std::string, std::string> kNone;
  return files_.empty() ? kNone : files_[0]->header().metadata;
}

const std::map<std::string, std::string>& Checkpoint::metadata_of(const std::string& file) const {
  for (const auto& candidate : files_) {
    if (std::filesystem::path(candidate->path()).filename() == file) return candidate->header().metadata;
  }
  return metadata();
}

std::vector<std::string> Checkpoint::file_names() const {
  std::vector<std::string> names;
  for (const auto& file : files_) names.push_back(std::filesystem::path(file->path()).filename().string());
  return names;
}

Status Checkpoint::check_unchanged() const {
  for (const auto& file : files_) LW_TRY(file->check_unchanged());
  return {};
}

}  // namespace liveweight
