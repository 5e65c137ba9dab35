// Gnuplot as a process.
#pragma once

#include <string>

#include "liveweight/error.h"

namespace liveweight::plot {

// Runs the script to its end. Errors carry what gnuplot said.
Status run_gnuplot(const std::string& script);

}  // namespace liveweight::plot
