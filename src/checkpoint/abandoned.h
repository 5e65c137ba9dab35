// Temporary directories that processes left which were killed.
#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/file.h"

namespace liveweight {

// A lock on a directory by which `remove_abandoned` knows that it is somebody's, in whatever container, until
// what it returns goes away.
Result<FileDescriptor> claim_directory(const std::filesystem::path& path);

// Removes directories in `place` whose name is the prefix and a number (of a process) and that nobody has
// claimed. Those less than a minute old stay, as do all on a file system whose locks another host may not
// see.
void remove_abandoned(const std::filesystem::path& place, const std::string& prefix) noexcept;

}  // namespace liveweight
