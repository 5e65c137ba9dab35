#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace liveweight {
namespace {

struct Tables {
  std::array<char32_t, 256> character{};
  std::array<int, 512> byte{};
};

// Printable Latin-1 stands for itself; the others, in order, for the characters from U+0100 on.
const Tables& tables() {
  static const Tables made = [] {
    Tables t;
    t.byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      t.character[b] = printable ? static_cast<char32_t>(b) : next++;
      t.byte[t.character[b]] = b;
    }
    return t;
  }();
  return made;
}

}  // namespace

std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) append_character(out, tables().character[static_cast<uint8_t>(byte)]);
  return out;
}

std::optional<std::string> characters_to_bytes(std::string_view characters) {
  std::string out;
  for (size_t at = 0; at < characters.size(); at += character_length(characters, at)) {
    const char32_t c = character_at(characters, at);
    if (c >= tables().byte.size() || tables().byte[c] < 0) return std::nullopt;
    out += static_cast<char>(tables().byte[c]);
  }
  return out;
}

}  // namespace liveweight
