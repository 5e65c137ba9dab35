// A look at JSON before it is parsed: what is nested deeply costs whoever walks over it recursively (printing
// it in an error, say) the stack.
#pragma once

#include <string_view>

namespace liveweight {

// Whether objects and lists are nested more than 32 deep. Says nothing about whether it is JSON.
bool nests_too_deep(std::string_view json);

// `text` as a basic_json of nlohmann's: null where it is nested too deep, discarded where it is no JSON.
template <typename Json>
Json parse_shallow(std::string_view text, const typename Json::parser_callback_t& watch = nullptr) {
  return nests_too_deep(text) ? Json() : Json::parse(text, watch, false);
}

}  // namespace liveweight
