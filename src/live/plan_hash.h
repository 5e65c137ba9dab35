// The plan's identity: everything that decides where a source byte goes.
#pragma once

#include <string>

#include "live/plan_tables.h"

namespace liveweight {

std::string hash_plan(const Plan::Implementation& plan);

}  // namespace liveweight
