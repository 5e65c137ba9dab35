#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "cli/command.h"
#include "cli/live_versions.h"
#include "cli/log.h"
#include "liveweight/digest.h"

namespace liveweight::cli {
namespace {

struct FollowCommand {
  ModelOptions model;  // DIR is the directory of versions
  std::string mode = "flip";
  std::string mirror, until;
  double poll_seconds = 1;
  bool once = false;
};

// One directory of weights in the directory of versions.
struct VersionDirectory {
  std::filesystem::path path;
  bool is_delta = false;
  std::string version, base_version;
  uint64_t number = 0;
};

std::optional<uint64_t> number_of(const std::string& text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    return {};
  return std::stoull(text);
}

// The digits that a directory's name ends in: weight_v000007.
std::string trailing_digits(const std::string& name) {
  const size_t last = name.find_last_not_of("0123456789");
  return last == std::string::npos ? name : name.substr(last + 1);
}

bool is_complete(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path / "model.safetensors.index.json", error) ||
         std::filesystem::exists(path / "model.safetensors", error);
}

Result<VersionDirectory> read_version(const std::filesystem::path& path) {
  VersionDirectory found{path, false, "", "", 0};
  LW_ASSIGN(found.is_delta, DeltaDirectory::is_delta(path));
  if (found.is_delta) {
    LW_ASSIGN(const DeltaDirectory delta, DeltaDirectory::open(path));
    found.version = delta.version();
    found.base_version = delta.base_version();
  } else {
    LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(path));
    LW_ASSIGN(found.version, version_of(checkpoint));
  }
  if (found.version.empty()) found.version = trailing_digits(path.filename().string());
  const auto number = number_of(found.version);
  if (!number) {
    return fail(ErrorCode::kBadCheckpoint,
                fmt::format("{}: expected a version that is a number, or a name that ends in one, got {:?}",
                            path.string(), found.version),
                {path.string()});
  }
  found.number = *number;
  return found;
}

// The versions that are there, by their numbers. What is still being written is left out, by its name or as
// it has no index yet.
class VersionList {
 public:
  explicit VersionList(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Status scan() {
    std::error_code error;
    for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename().string();
      const bool temporary = name.starts_with(".") || name.find(".tmp") != std::string::npos;
      if (temporary || known_.contains(name) || !is_complete(it->path())) continue;
      LW_ASSIGN(VersionDirectory found, read_version(it->path()));
      known_.insert(name);
      versions_.push_back(std::move(found));
    }
    if (!error) return {};
    return fail(ErrorCode::kIo, fmt::format("{}: cannot read it: {}", directory_.string(), error.message()),
                {directory_.string()});
  }

  const VersionDirectory* newest_full() const {
    const VersionDirectory* newest = nullptr;
    for (const VersionDirectory& v : versions_) {
      if (!v.is_delta && (!newest || v.number > newest->number)) newest = &v;
    }
    return newest;
  }

  // What comes after version `current`: a newer full checkpoint, the newest of them; else the delta on it. An
  // error where there are newer deltas, but none on it. Null where there is nothing.
  Result<const VersionDirectory*> next(uint64_t current) const {
    const VersionDirectory* full = newest_full();
    if (full && full->number > current) return full;
    const VersionDirectory* oldest = nullptr;
    for (const VersionDirectory& v : versions_) {
      if (!v.is_delta || v.number <= current) continue;
      if (number_of(v.base_version) == current) return &v;
      if (!oldest || v.number < oldest->number) oldest = &v;
    }
    if (!oldest) return nullptr;
    return fail(
        ErrorCode::kStaleVersion,
        fmt::format("{}: a gap: it applies on version {}, but the model is at {} and no delta on that is "
                    "there",
                    oldest->path.string(), oldest->base_version, current),
        {oldest->path.string()});
  }

 private:
  std::filesystem::path directory_;
  std::set<std::string> known_;
  std::vector<VersionDirectory> versions_;
};

class Follower {
 public:
  explicit Follower(const FollowCommand& command) : command_(command), list_(command.model.directory) {}

  Result<Outcome> run() {
    LW_TRY(start());
    Outcome out;
    Json versions = Json::array();
    while (!done()) {
      LW_TRY(list_.scan());
      LW_ASSIGN(const VersionDirectory* next, list_.next(current_));
      if (!next) {
        if (command_.once) break;
        std::this_thread::sleep_for(std::chrono::duration<double>(command_.poll_seconds));
        continue;
      }
      LW_ASSIGN(Json entry, take(*next));
      versions.push_back(std::move(entry));
    }
    LW_ASSIGN(const ModelDigest digest, digest_of(live_->model()));
    out.json = {{"started", started_},
                {"versions", versions},
                {"version", live_->version()},
                {"digest", digest.model.hex()}};
    out.text = fmt::format("{}  at version {}, {} taken since {}\n", digest.model.hex(), live_->version(),
                           versions.size(), started_);
    return out;
  }

 private:
  bool done() const { return number_of(command_.until) && current_ >= *number_of(command_.until); }

  // From what the mirror holds, or where that is older or empty from the newest full checkpoint.
  Status start() {
    LW_TRY(list_.scan());
    const VersionDirectory* full = list_.newest_full();
    if (!full) {
      return fail(ErrorCode::kMissingTensor,
                  fmt::format("{}: expected at least one full checkpoint", command_.model.directory),
                  {command_.model.directory});
    }
    LW_ASSIGN(options_.mode, parse_commit_mode(command_.mode));
    LW_ASSIGN(options_.names, command_.model.names());
    LW_ASSIGN(directory_, open_model_directory(full->path, options_.names));
    LW_ASSIGN(options_.quantization, command_.model.quantization(*directory_));
    options_.label = full->path.string();
    live_.emplace(*directory_, options_, command_.mirror);
    std::shared_ptr<Mirror> mirror;
    if (!command_.mirror.empty()) {
      LW_ASSIGN(mirror, Mirror::open(command_.mirror));
    }
    const auto mirrored = mirror && !mirror->empty() ? number_of(mirror->version()) : std::nullopt;
    const bool resumes = mirrored && *mirrored >= full->number;
    LW_TRY(resumes ? live_->resume(mirror) : live_->load(full->version));
    current_ = resumes ? *mirrored : full->number;
    started_ = fmt::format("{} from {}", live_->version(), resumes ? command_.mirror : full->path.string());
    log_line(LogLevel::kInfo, fmt::format("following {}: at version {}", command_.model.directory, started_));
    return {};
  }

  Result<Json> take(const VersionDirectory& next) {
    LW_ASSIGN(Json entry, live_->take(next.path));
    live_->name_version(next.version);
    current_ = next.number;
    LW_TRY(live_->follow_up(entry));
    LW_ASSIGN(const ModelDigest digest, digest_of(live_->model()));
    entry["name"] = next.version;
    entry["digest"] = digest.model.hex();
    log_line(LogLevel::kInfo, fmt::format("version {} from {}", next.version, next.path.string()));
    return entry;
  }

  const FollowCommand& command_;
  VersionList list_;
  LoadOptions options_;
  std::optional<ModelDirectory> directory_;
  std::optional<LiveVersions> live_;
  uint64_t current_ = 0;
  std::string started_;
};

}  // namespace

Run add_follow(CLI::App& app) {
  auto command = std::make_shared<FollowCommand>();
  command->model.add_to(app);
  app.add_option("--mode", command->mode, "flip or copy");
  app.add_option(
      "--mirror", command->mirror,
      "directory that keeps the high-precision weights for deltas, and where to go on after a restart");
  app.add_option("--until", command->until, "stop at this version")->check(CLI::NonNegativeNumber);
  app.add_option("--poll", command->poll_seconds, "seconds between looks")->check(CLI::Range(0.001, 3600.0));
  app.add_flag("--once", command->once, "stop where nothing newer is there");
  return [command] { return Follower(*command).run(); };
}

}  // namespace liveweight::cli
