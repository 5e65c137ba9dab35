#include "liveweight/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "base/json_nesting.h"

namespace liveweight {
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

tl::unexpected<Error> bad(const std::filesystem::path& where, const std::string& what,
                          std::vector<std::string> names = {}) {
  names.insert(names.begin(), where.string());
  return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: {}", where.string(), what), std::move(names));
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

struct Index {
  std::unordered_map<std::string, std::string> shards;  // weight_map: tensor -> shard
  std::map<std::string, std::string> metadata;
};

std::map<std::string, std::string> metadata_of_index(const nlohmann::json& json) {
  std::map<std::string, std::string> metadata;
  const auto found = json.find("metadata");
  if (found == json.end() || !found->is_object()) return metadata;
  for (const auto& [key, value] : found->items()) {
    if (value.is_string()) metadata.emplace(key, value.get<std::string>());
    if (value.is_number_integer()) metadata.emplace(key, value.dump());
  }
  return metadata;
}

// Duplicate keys are looked for while parsing, as JSON libraries keep silent.
Result<Index> parse_index(const std::filesystem::path& path, const std::string& text) {
  std::string duplicate;
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::object_start) keys.emplace_back();
    if (event == nlohmann::json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == nlohmann::json::parse_event_t::key && !keys.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) duplicate = key;
    }
    return true;
  };
  const auto json = parse_shallow<nlohmann::json>(text, watch);
  if (!json.is_object()) return bad(path, "expected a JSON object");
  if (!duplicate.empty()) return bad(path, fmt::format("{} is there twice", duplicate), {duplicate});
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) return bad(path, "weight_map: expected an object");
  Index index;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard)) {
      return bad(path,
                 fmt::format("weight_map.{}: expected a file's name without a path, got {}", tensor,
                             shard.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)),
                 {tensor});
    }
    index.shards.emplace(tensor, shard);
  }
  index.metadata = metadata_of_index(json);
  const bool may_be_empty = index.metadata.contains("delta_encoding");  // nothing changed
  if (index.shards.empty() && !may_be_empty) return bad(path, "weight_map: it names no tensor");
  return index;
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
    LW_TRY(checkpoint.add_file(kSingleName, nullptr));
    return checkpoint;
  }
  LW_ASSIGN(const std::vector<std::string> names, shards_in(directory));
  LW_TRY(check_numbered(directory, names));
  for (const std::string& name : names) LW_TRY(checkpoint.add_file(name, nullptr));
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open_file(const std::filesystem::path& file) {
  Checkpoint checkpoint;
  checkpoint.directory_ = file.parent_path();
  LW_TRY(checkpoint.add_file(file.filename().string(), nullptr));
  return checkpoint;
}

Status Checkpoint::add_indexed(const std::string& index_text) {
  const std::filesystem::path index = directory_ / kIndexName;
  LW_ASSIGN(Index parsed, parse_index(index, index_text));
  index_metadata_ = std::move(parsed.metadata);
  const auto& weight_map = parsed.shards;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    std::error_code error;
    if (!std::filesystem::exists(directory_ / shard, error)) {
      return bad(index, fmt::format("shard {} is missing", shard), {shard});
    }
    LW_TRY(add_file(shard, &weight_map));
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (by_name_->contains(tensor)) continue;
    return bad(index, fmt::format("tensor {} is not in {}, where weight_map puts it", tensor, shard),
               {tensor, shard});
  }
  return {};
}

// Of an indexed shard only the tensors that the index puts there are taken, as Hugging Face does.
Status Checkpoint::add_file(const std::string& name,
                            const std::unordered_map<std::string, std::string>* weight_map) {
  LW_ASSIGN(const auto file, SafetensorsFile::open(directory_ / name));
  files_.push_back(file);
  for (const SafetensorsEntry& entry : file->header().tensors) {
    if (weight_map) {
      const auto promised = weight_map->find(entry.name);
      if (promised == weight_map->end() || promised->second != name) continue;
    }
    if (!by_name_->emplace(entry.name, tensors_->size()).second) {
      return bad(directory_ / name,
                 fmt::format("tensor {} is in another file of the directory too", entry.name), {entry.name});
    }
    tensors_->push_back({entry.name, file->view(entry), name});
  }
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
