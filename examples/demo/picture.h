// The record as a picture: accuracy and reload time by version.
#pragma once

#include "demo/record.h"
#include "plot/chart.h"

namespace liveweight::demo {

plot::Chart picture_of(const Record& record);

}  // namespace liveweight::demo
