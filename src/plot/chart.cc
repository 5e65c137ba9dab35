#include "plot/chart.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "plot/gnuplot.h"
#include "plot/script.h"

namespace liveweight::plot {
namespace {

Status check_shape(const Chart& chart) {
  for (const Panel& panel : chart.panels) {
    for (const Series& series : panel.series) {
      if (series.values.size() == chart.categories.size()) continue;
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("series {}: expected a value for each of {} categories, got {}", series.name,
                              chart.categories.size(), series.values.size()),
                  {series.name});
    }
  }
  if (!chart.categories.empty() && !chart.panels.empty()) return {};
  return fail(ErrorCode::kInvalidArgument, "chart: expected a category and a panel at least, got none");
}

// Beside the file, so that it can take its place at once.
std::string partial_name(const std::filesystem::path& file) {
  return fmt::format("{}.{}.partial", file.string(), getpid());
}

}  // namespace

Status check_chart_file(const std::filesystem::path& file) {
  if (file.extension() != ".svg" && file.extension() != ".png") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a file name that ends in .svg or .png", file.string()),
                {file.string()});
  }
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    return fail(ErrorCode::kIo, fmt::format("{}: expected a file, got a directory", file.string()),
                {file.string()});
  }
  const std::string partial = partial_name(file);
  const bool written = std::ofstream(partial).is_open();
  if (!written) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected a directory that can be written to: {}", file.string(),
                            std::strerror(errno)),
                {file.string()});
  }
  std::filesystem::remove(partial, error);
  return {};
}

Status write_chart(const Chart& chart, const std::filesystem::path& file) {
  LW_TRY(check_shape(chart));
  LW_TRY(check_chart_file(file));
  const std::string partial = partial_name(file);
  const Status drawn =
      run_gnuplot(gnuplot_script(chart, file.extension() == ".svg" ? "svg" : "pngcairo", partial));
  std::error_code error;
  if (drawn) std::filesystem::rename(partial, file, error);
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  LW_TRY(drawn);
  if (!error) return {};
  return fail(ErrorCode::kIo, fmt::format("{}: cannot replace it: {}", file.string(), error.message()),
              {file.string()});
}

}  // namespace liveweight::plot
