// Charts in a file: panels above one another that share their categories, drawn by gnuplot, which must be
// installed where one is written (and nowhere else).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::plot {

enum class Mark : uint8_t { kBars, kLine };

// A value for each of the chart's categories; NaN where there is none.
struct Series {
  std::string name;  // in the key, which is left out where no series of the panel has a name
  Mark mark = Mark::kBars;
  std::vector<double> values;
};

// Bars of several series stand beside one another. The vertical axis begins at 0.
struct Panel {
  std::string title;
  std::string y_label;  // with the unit
  double y_top = 0;     // where the axis ends; 0: a little above the largest value
  std::vector<Series> series;
  std::string value_format;  // printf's, of the numbers written at the values; empty: none are
};

// A dashed vertical line through all panels; `at` counts categories from 0, so 8.5 is between two.
struct Note {
  double at = 0;
  std::string text;
};

struct Chart {
  std::string title;
  std::string subtitle;
  std::string x_label;
  std::vector<std::string> categories;
  std::vector<Panel> panels;
  std::vector<Note> notes;
};

// Whether a chart could be written there: `file` ends in .svg or .png, and its directory can be written to.
// For programs that measure for long before they draw.
Status check_chart_file(const std::filesystem::path& file);

// Replaces `file` when the chart is whole. kUnsupported where gnuplot is not installed.
Status write_chart(const Chart& chart, const std::filesystem::path& file);

}  // namespace liveweight::plot
