// Messages on standard error about what the program does, by level. Results and errors go elsewhere.
#pragma once

#include <cstdint>
#include <string_view>

#include "liveweight/error.h"

namespace liveweight::cli {

enum class LogLevel : uint8_t { kError, kWarn, kInfo, kDebug };

// "error", "warn", "info", "debug"; an error begins with `where`, the flag or variable that `name` came from.
Result<LogLevel> parse_log_level(std::string_view where, std::string_view name);

// What is shown from now on: that level and those before it. Until then, errors only.
void set_log_level(LogLevel level);

// One line, "liveweight: info: message", where the level is shown.
void log_line(LogLevel level, std::string_view message);

}  // namespace liveweight::cli
