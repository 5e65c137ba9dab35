#include "cli/log.h"

#include <fmt/format.h>

#include <array>

namespace liveweight::cli {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"error", "warn", "info", "debug"};
LogLevel g_level = LogLevel::kError;

}  // namespace

Result<LogLevel> parse_log_level(std::string_view where, std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: expected one of {}, got {}", where, fmt::join(kNames, ", "), name));
}

void set_log_level(LogLevel level) {
  g_level = level;
}

void log_line(LogLevel level, std::string_view message) {
  if (level > g_level) return;
  fmt::print(stderr, "liveweight: {}: {}\n", kNames[static_cast<size_t>(level)], message);
}

}  // namespace liveweight::cli
