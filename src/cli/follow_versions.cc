#include "cli/follow_versions.h"

#include <fmt/format.h>

#include <functional>
#include <system_error>

#include "liveweight/checkpoint.h"
#include "liveweight/delta.h"

namespace liveweight::cli {
namespace {

// The digits that a directory's name ends in: weight_v000007.
std::string trailing_digits(const std::string& name) {
  const size_t last = name.find_last_not_of("0123456789");
  return last == std::string::npos ? name : name.substr(last + 1);
}

bool has_index(const std::filesystem::path& path) {
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
  const auto number = version_number(found.version);
  if (!number) {
    return fail(ErrorCode::kBadCheckpoint,
                fmt::format("{}: expected a version that is a number, or a name that ends in one, got {:?}",
                            path.string(), found.version),
                {path.string()});
  }
  found.number = *number;
  if (found.is_delta && found.base_version.empty() && found.number > 0) {
    found.base_version = std::to_string(found.number - 1);
  }
  return found;
}

}  // namespace

std::optional<uint64_t> version_number(const std::string& text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    return {};
  return std::stoull(text);
}

Status VersionList::scan(Patience& patience) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool temporary = name.starts_with(".") || name.find(".tmp") != std::string::npos;
    if (temporary || known_.contains(name) || !has_index(it->path())) continue;
    Result<VersionDirectory> found = read_version(it->path());
    if (found) {
      known_.insert(name);
      if (!last_ || found->number <= *last_) versions_.push_back(*std::move(found));
    } else {
      LW_TRY(patience.bear(it->path().string(), std::move(found).error()));
    }
  }
  if (!error) return {};
  return fail(ErrorCode::kIo, fmt::format("{}: cannot read it: {}", directory_.string(), error.message()),
              {directory_.string()});
}

template <typename Wanted, typename Before>
Result<const VersionDirectory*> VersionList::first(const Wanted& wanted, const Before& before) const {
  const VersionDirectory *first = nullptr, *same = nullptr;
  for (const VersionDirectory& v : versions_) {
    if (!wanted(v)) continue;
    if (first && v.number == first->number) same = &v;
    if (!first || before(v.number, first->number)) first = &v;
  }
  if (!same || same->number != first->number) return first;
  return fail(ErrorCode::kBadCheckpoint,
              fmt::format("{}: it is version {}, but so is {}: expected one of each", same->path.string(),
                          same->number, first->path.string()),
              {same->path.string(), first->path.string()});
}

Result<const VersionDirectory*> VersionList::newest_full() const {
  return first([](const VersionDirectory& v) { return !v.is_delta; }, std::greater<>());
}

Result<const VersionDirectory*> VersionList::full(uint64_t number) const {
  return first([&](const VersionDirectory& v) { return !v.is_delta && v.number == number; }, std::less<>());
}

Result<const VersionDirectory*> VersionList::next(uint64_t current) const {
  LW_ASSIGN(const VersionDirectory* full, newest_full());
  if (full && full->number > current) return full;
  const auto newer_delta = [&](const VersionDirectory& v) { return v.is_delta && v.number > current; };
  const auto on_it = [&](const VersionDirectory& v) {
    return newer_delta(v) && version_number(v.base_version) == current;
  };
  LW_ASSIGN(const VersionDirectory* delta, first(on_it, std::less<>()));
  if (delta) return delta;
  const VersionDirectory* oldest = nullptr;
  for (const VersionDirectory& v : versions_) {
    if (newer_delta(v) && (!oldest || v.number < oldest->number)) oldest = &v;
  }
  if (!oldest) return nullptr;
  return fail(
      ErrorCode::kStaleVersion,
      fmt::format("{}: a gap: it applies on version {}, but the model is at {} and no delta on that is "
                  "there",
                  oldest->path.string(), oldest->base_version, current),
      {oldest->path.string()});
}

}  // namespace liveweight::cli
