// A look at JSON before it is parsed: what is nested deeply costs whoever walks over it recursively (printing
// it in an error, say) the stack.
#pragma once

#include <string_view>

namespace liveweight {

// Whether objects and lists are nested more than 32 deep. Says nothing about whether it is JSON.
bool nests_too_deep(std::string_view json);

}  // namespace liveweight
