// A chart in gnuplot's language.
#pragma once

#include <string>

#include "plot/chart.h"

namespace liveweight::plot {

// `terminal`: "svg" or "pngcairo". The picture goes to `output`.
std::string gnuplot_script(const Chart& chart, const std::string& terminal, const std::string& output);

}  // namespace liveweight::plot
