#include "plot/chart.h"

#include <fmt/format.h>
#include <unistd.h>

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

}  // namespace

Status check_chart_file(const std::filesystem::path& file) {
  if (file.extension() != ".svg" && file.extension() != ".png") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected a file name that ends in .svg or .png", file.string()),
                {file.string()});
  }
  const auto directory = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error) || access(directory.c_str(), W_OK) != 0) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected {} to be a directory that can be written to", file.string(),
                            directory.string()),
                {file.string()});
  }
  if (!std::filesystem::is_directory(file, error)) return {};
  return fail(ErrorCode::kIo, fmt::format("{}: expected a file, got a directory", file.string()),
              {file.string()});
}

Status write_chart(const Chart& chart, const std::filesystem::path& file) {
  LW_TRY(check_shape(chart));
  LW_TRY(check_chart_file(file));
  const std::string partial = fmt::format("{}.{}.partial", file.string(), getpid());
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
