// The checksums that delta formats know, in lower-case hexadecimal.
#pragma once

#include <span>
#include <string>

#include "liveweight/error.h"

namespace liveweight {

// kUnsupported, with the names that are known, for any other.
Status check_checksum_format(const std::string& format);

// Of the pieces as if they were one. The format must be a known one.
std::string checksum_hex(const std::string& format, std::span<const std::span<const std::byte>> pieces);

}  // namespace liveweight
