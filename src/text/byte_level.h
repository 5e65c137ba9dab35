// GPT-2's printable character for each byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace liveweight {

std::string bytes_to_characters(std::string_view bytes);
// Nothing where a character stands for no byte.
std::optional<std::string> characters_to_bytes(std::string_view characters);

}  // namespace liveweight
