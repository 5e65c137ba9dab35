// `liveweight bench decode`.
#pragma once

#include <filesystem>

#include "cli/command.h"

namespace liveweight::cli {

Result<Outcome> bench_decode(const std::filesystem::path& directory, const std::vector<std::string>& schemes,
                             int rounds);

}  // namespace liveweight::cli
