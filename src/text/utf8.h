// UTF-8, character by character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace liveweight {

// Bytes of the character that begins at `at` of valid UTF-8.
size_t character_length(std::string_view text, size_t at);
char32_t character_at(std::string_view text, size_t at);
void append_character(std::string& text, char32_t character);

bool is_valid_utf8(std::string_view text);
// Ill-formed sequences become U+FFFD, one for each maximal part of a character, as Rust and Python replace
// them.
std::string replace_invalid_utf8(std::string_view bytes);
// The length of the longest prefix that does not end inside a character.
size_t complete_utf8_prefix(std::string_view bytes);

bool is_whitespace(char32_t character);  // Unicode's White_Space
bool is_word(char32_t character);        // letters, numbers, marks and connectors
bool is_number(char32_t character);
bool is_punctuation(char32_t character);

}  // namespace liveweight
