#include "checkpoint/checksum.h"

#include <fmt/format.h>
#include <zlib.h>

#include "base/hash.h"

namespace liveweight {
namespace {

constexpr const char* kXxh3 = "xxh3-128";
constexpr const char* kAdler32 = "adler32";

}  // namespace

Status check_checksum_format(const std::string& format) {
  if (format == kXxh3 || format == kAdler32) return {};
  return fail(
      ErrorCode::kUnsupported,
      fmt::format("checksum_format: {} is not supported; known are {} and {}", format, kXxh3, kAdler32),
      {"checksum_format"});
}

std::string checksum_hex(const std::string& format, std::span<const std::span<const std::byte>> pieces) {
  if (format == kAdler32) {
    uLong sum = adler32(0, nullptr, 0);
    for (const auto& piece : pieces) {
      sum = adler32_z(sum, reinterpret_cast<const Bytef*>(piece.data()), piece.size());
    }
    return fmt::format("{:08x}", sum);
  }
  Hasher hasher;
  for (const auto& piece : pieces) hasher.add(piece);
  return fmt::format("{:02x}", fmt::join(hasher.finish(), ""));
}

}  // namespace liveweight
