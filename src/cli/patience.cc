#include "cli/patience.h"

#include <fmt/format.h>

#include <utility>

#include "cli/log.h"

namespace liveweight::cli {
namespace {

// What files give that are not there, too short, or not yet what their checksums promise; and a delta whose
// base did not come.
bool may_be_late(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kBadCheckpoint || code == ErrorCode::kDigestMismatch ||
         code == ErrorCode::kStaleVersion;
}

}  // namespace

void Patience::begin_look() {
  before_ = std::exchange(since_, {});
}

Status Patience::bear(const std::string& thing, Error error) {
  const auto now = std::chrono::steady_clock::now();
  const auto known = before_.find(thing);
  const auto since = known == before_.end() ? now : known->second;
  if (!may_be_late(error.code) || most_.count() < 0 || (known != before_.end() && now - since > most_)) {
    return tl::unexpected(std::move(error));
  }
  if (since_.emplace(thing, since).second && known == before_.end()) {
    log_line(LogLevel::kWarn, fmt::format("{} is not complete yet: {}", thing, error.message));
  }
  return {};
}

}  // namespace liveweight::cli
