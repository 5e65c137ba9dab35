// Whether a completion says of each of its tokens of which version it is.
#pragma once

#include <string>

#include "liveweight/engine.h"

namespace liveweight {

// Empty where its spans follow one another from the first token to the last, version numbers ascending, and
// it has a token at least; else what is wrong.
std::string fault_of(const Completion& completion);

}  // namespace liveweight
