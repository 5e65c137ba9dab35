#include "text/utf8.h"

#include <utf8proc.h>

namespace liveweight {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// How many bytes at `at` belong to one well-formed character, and whether it is whole: an ill-formed one
// gives the length of its longest well-formed beginning (at least 1).
struct Scan {
  size_t length;
  bool whole;
  bool cut;  // ended by the end of the text, so more bytes might make it whole
};

Scan scan(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(at);
  if (lead < 0x80) return {1, true, false};
  const size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                        : lead >= 0xe0 && lead <= 0xef ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length == 0) return {1, false, false};
  uint8_t lowest = 0x80, highest = 0xbf;
  if (lead == 0xe0) lowest = 0xa0;
  if (lead == 0xed) highest = 0x9f;
  if (lead == 0xf0) lowest = 0x90;
  if (lead == 0xf4) highest = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {i, false, true};
    if (byte(at + i) < lowest || byte(at + i) > highest) return {i, false, false};
    lowest = 0x80, highest = 0xbf;
  }
  return {length, true, false};
}

utf8proc_category_t category(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

}  // namespace

size_t character_length(std::string_view text, size_t at) {
  return scan(text, at).length;
}

char32_t character_at(std::string_view text, size_t at) {
  const size_t length = scan(text, at).length;
  if (length == 1) return static_cast<uint8_t>(text[at]);
  char32_t character = static_cast<uint8_t>(text[at]) & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i)
    character = character << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3fu);
  return character;
}

void append_character(std::string& text, char32_t character) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Scan character = scan(text, at);
    if (!character.whole) return false;
    at += character.length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const Scan character = scan(bytes, at);
    text += character.whole ? bytes.substr(at, character.length) : kReplacement;
    at += character.length;
  }
  return text;
}

size_t complete_utf8_prefix(std::string_view bytes) {
  const size_t begin = bytes.size() > 3 ? bytes.size() - 3 : 0;
  for (size_t at = begin; at < bytes.size(); ++at) {
    const bool leads = (static_cast<uint8_t>(bytes[at]) & 0xc0u) == 0xc0u;
    if (leads && scan(bytes, at).cut) return at;
  }
  return bytes.size();
}

bool is_whitespace(char32_t c) {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_number(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_word(char32_t c) {
  const auto kind = category(c);
  const bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
  const bool mark = kind >= UTF8PROC_CATEGORY_MN && kind <= UTF8PROC_CATEGORY_ME;
  return letter || mark || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_PC;
}

bool is_punctuation(char32_t c) {
  const auto kind = category(c);
  const bool ascii =
      (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return ascii || (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO);
}

}  // namespace liveweight
