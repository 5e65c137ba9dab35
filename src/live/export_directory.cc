#include "live/export_directory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "checkpoint/abandoned.h"

namespace liveweight {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> refuse(ErrorCode code, const fs::path& path, const std::string& what) {
  return fail(code, fmt::format("{}: {}", path.string(), what), {path.string()});
}

// The path of the directory itself, where links lead to it and without a slash at the end.
fs::path resolve(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  fs::path whole = fs::weakly_canonical(absolute, error);
  if (error) whole = absolute;
  return whole.has_filename() ? whole : whole.parent_path();
}

Status check_place(const fs::path& place, const fs::path& source) {
  std::error_code error;
  const fs::file_status status = fs::status(place, error);
  if (!fs::exists(status)) {
    if (fs::is_directory(place.parent_path(), error)) return {};
    return refuse(ErrorCode::kIo, place, "expected its parent to be a directory");
  }
  if (fs::equivalent(place, source, error)) {
    return refuse(ErrorCode::kInvalidArgument, place, "it is the source itself; expected another directory");
  }
  if (!fs::is_directory(status)) {
    return refuse(ErrorCode::kInvalidArgument, place, "expected a new or empty directory, got a file");
  }
  const bool empty = fs::is_empty(place, error);
  if (error) return refuse(ErrorCode::kIo, place, "cannot read it: " + error.message());
  if (empty) return {};
  return refuse(ErrorCode::kInvalidArgument, place, "expected a new or empty directory, but it is not empty");
}

bool is_companion(const fs::path& name) {
  static const std::set<std::string> kExtensions = {".json", ".txt", ".model", ".jinja", ".tiktoken",
                                                    ".py",   ".md",  ".yaml",  ".yml"};
  const std::string text = name.string();
  if (text.starts_with(".") || text == "config.json" || text.ends_with(".index.json")) return false;
  if (kExtensions.contains(name.extension().string())) return true;
  return text.starts_with("LICENSE") || text.starts_with("NOTICE");
}

}  // namespace

ExportDirectory::ExportDirectory(fs::path place, fs::path temporary, FileDescriptor claim)
    : place_(std::move(place)), temporary_(std::move(temporary)), claim_(std::move(claim)) {}

ExportDirectory::ExportDirectory(ExportDirectory&& other) noexcept
    : place_(std::move(other.place_)),
      temporary_(std::exchange(other.temporary_, {})),
      claim_(std::move(other.claim_)) {}

ExportDirectory::~ExportDirectory() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

Result<ExportDirectory> ExportDirectory::create(const fs::path& place, const fs::path& source) {
  const fs::path whole = resolve(place);
  LW_TRY(check_place(whole, source));
  const std::string prefix = fmt::format(".{}.tmp.", whole.filename().string());
  remove_abandoned(whole.parent_path(), prefix);
  const std::string name = fmt::format("{}{}", prefix, getpid());
  const fs::path temporary = whole.parent_path() / name;
  std::error_code error;
  if (fs::create_directory(temporary, error)) {
    ExportDirectory made(whole, temporary, FileDescriptor());
    LW_ASSIGN(made.claim_, claim_directory(temporary));
    return made;
  }
  const std::string why = error ? error.message() : name + " is there already";
  return refuse(ErrorCode::kIo, place, "cannot write beside it: " + why);
}

Status ExportDirectory::copy_companions(const fs::path& source) const {
  std::error_code error;
  for (fs::directory_iterator it(source, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!is_companion(it->path().filename()) || !fs::is_regular_file(it->path(), ignored)) continue;
    fs::copy_file(it->path(), temporary_ / it->path().filename(), error);
    if (error) return refuse(ErrorCode::kIo, it->path(), "cannot copy it: " + error.message());
  }
  if (error) return refuse(ErrorCode::kIo, source, "cannot read it: " + error.message());
  return {};
}

Status ExportDirectory::publish() {
  std::error_code error;
  fs::rename(temporary_, place_, error);
  if (error) return refuse(ErrorCode::kIo, place_, "cannot put the directory there: " + error.message());
  temporary_.clear();
  return {};
}

}  // namespace liveweight
