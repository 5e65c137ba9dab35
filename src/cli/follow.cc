#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <thread>

#include "cli/command.h"
#include "cli/follow_versions.h"
#include "cli/live_versions.h"
#include "cli/log.h"
#include "cli/patience.h"

namespace liveweight::cli {
namespace {

struct FollowCommand {
  ModelOptions model;  // DIR is the directory of versions
  TensorParallelOptions tensor_parallel;
  std::string mode = "flip";
  std::string mirror, until;
  double poll_seconds = 1;
  double patience_seconds = 30;
  bool once = false;
};

class Follower {
 public:
  explicit Follower(const FollowCommand& command)
      : command_(command),
        list_(command.model.directory, version_number(command.until)),
        patience_(command.once ? -1 : command.patience_seconds) {}

  Result<Outcome> run() {
    LW_ASSIGN(options_.mode, parse_commit_mode(command_.mode));
    LW_ASSIGN(options_.names, command_.model.names());
    while (true) {
      LW_ASSIGN(const bool started, start());
      if (started) break;
      wait();
    }
    const Status followed = follow();
    LW_ASSIGN(const Digest digest, live_->digest());
    Outcome out;
    out.json = {{"started", started_},
                {"versions", versions_},
                {"version", live_->version()},
                {"digest", digest.hex()}};
    out.text = fmt::format("{}  at version {}, {} taken since {}\n", digest.hex(), live_->version(),
                           versions_.size(), started_);
    if (!followed) out.refuse(followed.error());
    return out;
  }

 private:
  Status follow() {
    while (!done()) {
      LW_ASSIGN(const VersionDirectory* next, look());
      LW_ASSIGN(std::optional<Json> entry, next ? take(*next) : std::optional<Json>());
      if (entry) {
        versions_.push_back(*std::move(entry));
        continue;
      }
      if (command_.once) break;
      wait();
    }
    return {};
  }

  bool done() const { return version_number(command_.until) && current_ >= *version_number(command_.until); }

  void wait() const { std::this_thread::sleep_for(std::chrono::duration<double>(command_.poll_seconds)); }

  // False where what there is to start from is not complete yet.
  Result<bool> start() {
    patience_.begin_look();
    LW_TRY(list_.scan(patience_));
    const Result<const VersionDirectory*> full = list_.newest_full();
    if (!full) {
      LW_TRY(patience_.bear(full.error().names.front(), full.error()));
      return false;
    }
    if (*full) return start_from(**full);
    if (!patience_.waits()) {
      const std::string& directory = command_.model.directory;
      const std::string what = fmt::format("{}: expected at least one full checkpoint", directory);
      LW_TRY(patience_.bear(directory, {ErrorCode::kIo, what, {directory}}));
    }
    return false;
  }

  // From what the mirror holds, or where that is older or empty from that checkpoint.
  Result<bool> start_from(const VersionDirectory& full) {
    Result<ModelDirectory> opened = open_model_directory(full.path, options_.names);
    if (!opened) return not_yet(full, std::move(opened).error());
    directory_ = *std::move(opened);
    LW_ASSIGN(options_.quantization, command_.model.quantization(*directory_));
    options_.label = full.path.string();
    live_.emplace(*directory_, options_, command_.tensor_parallel, command_.mirror);
    live_->share_mirror();
    std::shared_ptr<Mirror> mirror;
    if (!command_.mirror.empty()) {
      LW_ASSIGN(mirror, Mirror::open(command_.mirror));
    }
    const auto mirrored = mirror && !mirror->empty() ? version_number(mirror->version()) : std::nullopt;
    const bool resumes = mirrored && *mirrored >= full.number;
    if (resumes) {
      LW_TRY(check_origin(*mirror));
      LW_TRY(live_->resume(mirror));
    } else if (Status loaded = live_->load(full.version); !loaded) {
      return not_yet(full, std::move(loaded).error());
    }
    current_ = resumes ? *mirrored : full.number;
    started_ = fmt::format("{} from {}", live_->version(), resumes ? command_.mirror : full.path.string());
    log_line(LogLevel::kInfo, fmt::format("following {}: at version {}", command_.model.directory, started_));
    return true;
  }

  // Versions of another run may have the same numbers. Nothing tells where the checkpoint that the mirror was
  // made of is gone.
  Status check_origin(const Mirror& mirror) const {
    const auto number = version_number(mirror.origin());
    if (!number) return {};
    LW_ASSIGN(const VersionDirectory* made_of, list_.full(*number));
    if (!made_of) return {};
    LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(made_of->path));
    return mirror.check_origin(checkpoint, options_.names.as_function());
  }

  // False, or the error where it can no longer be borne.
  Result<bool> not_yet(const VersionDirectory& version, Error error) {
    LW_TRY(patience_.bear(version.path.string(), std::move(error)));
    return false;
  }

  // What comes next; null where nothing does, or not yet.
  Result<const VersionDirectory*> look() {
    patience_.begin_look();
    LW_TRY(list_.scan(patience_));
    Result<const VersionDirectory*> next = list_.next(current_);
    if (next) return next;
    LW_TRY(patience_.bear(next.error().names.front(), next.error()));
    return nullptr;
  }

  // None where it is not complete yet, and the model is as it was.
  Result<std::optional<Json>> take(const VersionDirectory& next) {
    Result<Json> taken = live_->take(next.path, next.version);
    if (taken) {
      LW_TRY(note(*taken, next.number, next.version));
      return *std::move(taken);
    }
    // The mirror may be where another process is already.
    LW_ASSIGN(std::optional<Json> mirrored, live_->take_mirrored(current_));
    if (mirrored) {
      LW_TRY(note(*mirrored, *version_number(live_->version()), live_->version()));
      return mirrored;
    }
    LW_TRY(patience_.bear(next.path.string(), std::move(taken).error()));
    return std::nullopt;
  }

  Status note(Json& entry, uint64_t number, const std::string& version) {
    current_ = number;
    LW_TRY(live_->follow_up(entry));
    LW_ASSIGN(const Digest digest, live_->digest());
    entry["name"] = version;
    entry["digest"] = digest.hex();
    log_line(LogLevel::kInfo, fmt::format("version {} from {}", version, std::string(entry["directory"])));
    return {};
  }

  const FollowCommand& command_;
  VersionList list_;
  Patience patience_;
  LoadOptions options_;
  std::optional<ModelDirectory> directory_;
  std::optional<LiveVersions> live_;
  uint64_t current_ = 0;
  std::string started_;
  Json versions_ = Json::array();
};

}  // namespace

Run add_follow(CLI::App& app) {
  auto command = std::make_shared<FollowCommand>();
  command->model.add_to(app);
  command->tensor_parallel.add_to(app);
  app.add_option("--mode", command->mode, "flip or copy")->check(CLI::IsMember({"flip", "copy"}));
  add_path(app, "--mirror", command->mirror,
           "directory that keeps the high-precision weights for deltas, and where to go on after a restart");
  app.add_option("--until", command->until, "stop at this version, and leave newer ones alone")
      ->check([](const std::string& text) {
        return version_number(text) ? "" : "expected a version, a number of at most 18 digits, got " + text;
      });
  app.add_option("--poll", command->poll_seconds, "seconds between looks")->check(CLI::Range(0.001, 3600.0));
  app.add_option("--patience", command->patience_seconds,
                 "seconds for which a version that is not complete, or a gap, is waited for")
      ->check(CLI::Range(0.0, 1e6));
  app.add_flag("--once", command->once, "stop where nothing newer is there, and wait for nothing");
  return [command] { return Follower(*command).run(); };
}

}  // namespace liveweight::cli
