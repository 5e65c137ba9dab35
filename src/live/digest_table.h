// The digest of one table of slots, published or not.
#pragma once

#include <vector>

#include "liveweight/digest.h"

namespace liveweight {

ModelDigest digest_of_slots(const Plan& plan, const std::vector<const std::byte*>& slots);

}  // namespace liveweight
