#include "liveweight/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <regex>
#include <set>

#include "base/name_table.h"
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

Result<std::vector<std::string>> safetensors_in(const std::filesystem::path& directory) {
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
  std::sort(names.begin(), names.end());
  return names;
}

std::string_view name_of_file(const SafetensorsFile& file) {
  const std::string_view path = file.path();
  return path.substr(path.rfind('/') + 1);
}

// Files of a directory, whose headers are parsed by all threads.
class OpenedFiles {
 public:
  // `beside`: what one of the threads does meanwhile, if anything.
  OpenedFiles(const std::filesystem::path& directory, std::vector<std::string> sorted_names,
              const std::function<void()>& beside = nullptr)
      : directory_(directory), names_(std::move(sorted_names)), opened_(names_.size()) {
    const int64_t first = beside ? 1 : 0, jobs = first + std::ssize(names_);
    const auto run = [&](int64_t job) {
      if (job < first) return beside();
      opened_[job - first] = SafetensorsFile::open(directory_ / names_[job - first]);
    };
    if (names_.size() > 1) {
      ThreadPool::shared().parallel_for(jobs, run);
    } else {  // there is nothing to share out
      for (int64_t job = 0; job < jobs; ++job) run(job);
    }
  }

  // Each only once. One that was not among the names is opened now.
  Result<std::shared_ptr<const SafetensorsFile>> take(const std::string& name) {
    const auto found = std::lower_bound(names_.begin(), names_.end(), name);
    if (found == names_.end() || *found != name) return SafetensorsFile::open(directory_ / name);
    return std::move(*opened_[found - names_.begin()]);
  }

 private:
  const std::filesystem::path directory_;
  const std::vector<std::string> names_;
  std::vector<std::optional<Result<std::shared_ptr<const SafetensorsFile>>>> opened_;
};

Result<ShardIndex> read_index(const std::filesystem::path& path) {
  LW_ASSIGN(const std::string text, read_text_file(path));
  return ShardIndex::parse(path, text);
}

}  // namespace

struct Checkpoint::Contents {
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  std::vector<CheckpointTensor> tensors;
  NameTable by_name;
  std::map<std::string, std::string> index_metadata;

  Status read(const std::filesystem::path& directory);
  Status add_indexed(const std::filesystem::path& directory);
  Status add_all(const std::filesystem::path& directory, const std::vector<std::string>& names);
  Status take_files(OpenedFiles& opened, const std::vector<std::string>& names);
  auto name_of() const {
    return [this](uint32_t tensor) { return tensors[tensor].name; };
  }
};

Checkpoint::Checkpoint() : Checkpoint({}, std::make_shared<Contents>()) {}

Checkpoint::Checkpoint(std::filesystem::path directory, std::shared_ptr<const Contents> contents)
    : directory_(std::move(directory)), contents_(std::move(contents)) {}

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return fail(ErrorCode::kIo, fmt::format("{}: expected a directory", directory.string()),
                {directory.string()});
  }
  const auto contents = std::make_shared<Contents>();
  LW_TRY(contents->read(directory));
  return Checkpoint(directory, contents);
}

Result<Checkpoint> Checkpoint::open_file(const std::filesystem::path& file) {
  const auto contents = std::make_shared<Contents>();
  LW_TRY(contents->add_all(file.parent_path(), {file.filename().string()}));
  return Checkpoint(file.parent_path(), contents);
}

Status Checkpoint::Contents::read(const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::exists(directory / kIndexName, error)) return add_indexed(directory);
  if (std::filesystem::exists(directory / kSingleName, error)) return add_all(directory, {kSingleName});
  LW_ASSIGN(const std::vector<std::string> shards, safetensors_in(directory));
  if (shards.empty()) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected {}, {} or other *.safetensors files, found none",
                            directory.string(), kIndexName, kSingleName),
                {directory.string()});
  }
  LW_TRY(check_numbered(directory, shards));
  return add_all(directory, shards);
}

Status Checkpoint::Contents::take_files(OpenedFiles& opened, const std::vector<std::string>& names) {
  size_t count = 0;
  for (const std::string& name : names) {
    LW_ASSIGN(files.emplace_back(), opened.take(name));
    count += files.back()->header().tensors.size();
  }
  tensors.reserve(count);
  return {};
}

Status Checkpoint::Contents::add_all(const std::filesystem::path& directory,
                                     const std::vector<std::string>& names) {
  OpenedFiles opened(directory, names);
  LW_TRY(take_files(opened, names));
  by_name.reserve(tensors.capacity(), name_of());
  for (const auto& file : files) {
    for (const SafetensorsEntry& entry : file->header().tensors) {
      if (by_name.add(entry.name, static_cast<uint32_t>(tensors.size()), name_of())) {
        return bad(file->path(), fmt::format("tensor {} is in another file of the directory too", entry.name),
                   {std::string(entry.name)});
      }
      tensors.push_back({entry.name, file->view(entry), name_of_file(*file)});
    }
  }
  return {};
}

// Of an indexed shard only the tensors that the index puts there are taken, as Hugging Face does. The index,
// which takes as long as many headers, is read beside those of all files that could be shards.
Status Checkpoint::Contents::add_indexed(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kIndexName;
  std::optional<Result<ShardIndex>> read;
  OpenedFiles opened(directory, safetensors_in(directory).value_or(std::vector<std::string>()),
                     [&] { read = read_index(path); });
  LW_ASSIGN(ShardIndex index, std::move(*read));
  for (const std::string& shard : index.shards()) {
    std::error_code error;
    if (std::filesystem::exists(directory / shard, error)) continue;
    return bad(path, fmt::format("shard {} is missing", shard), {shard});
  }
  LW_TRY(take_files(opened, index.shards()));
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> tensor_of(index.entries().size(), kNone);
  std::optional<uint32_t> found;
  for (size_t shard = 0; shard < files.size(); ++shard) {
    for (const SafetensorsEntry& entry : files[shard]->header().tensors) {
      const auto place = index.find(entry.name, shard, found);
      if (!place) continue;
      found = place;
      tensor_of[*place] = static_cast<uint32_t>(tensors.size());
      tensors.push_back({entry.name, files[shard]->view(entry), name_of_file(*files[shard])});
    }
  }
  const auto missing = std::find(tensor_of.begin(), tensor_of.end(), kNone);
  if (missing != tensor_of.end()) {
    const ShardIndex::Entry& entry = index.entries()[missing - tensor_of.begin()];
    const std::string tensor(entry.tensor), &shard = index.shards()[entry.shard];
    return bad(path, fmt::format("tensor {} is not in {}, where weight_map puts it", tensor, shard),
               {tensor, shard});
  }
  by_name = index.take_names();
  by_name.renumber([&](uint32_t entry) { return tensor_of[entry]; });
  index_metadata = index.take_metadata();
  return {};
}

const std::vector<CheckpointTensor>& Checkpoint::tensors() const {
  return contents_->tensors;
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto found = contents_->by_name.find(name, contents_->name_of());
  return found ? &contents_->tensors[*found] : nullptr;
}

const std::map<std::string, std::string>& Checkpoint::metadata() const {
  static const std::map<std::string, std::string> kNone;
  return contents_->files.empty() ? kNone : contents_->files[0]->header().metadata;
}

const std::map<std::string, std::string>& Checkpoint::metadata_of(std::string_view file) const {
  for (const auto& candidate : contents_->files) {
    if (name_of_file(*candidate) == file) return candidate->header().metadata;
  }
  return metadata();
}

const std::map<std::string, std::string>& Checkpoint::index_metadata() const {
  return contents_->index_metadata;
}

std::vector<std::string> Checkpoint::file_names() const {
  std::vector<std::string> names;
  for (const auto& file : contents_->files) names.emplace_back(name_of_file(*file));
  return names;
}

Status Checkpoint::check_unchanged() const {
  for (const auto& file : contents_->files) LW_TRY(file->check_unchanged());
  return {};
}

}  // namespace liveweight
