#include "plot/chart.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "plot/script.h"

namespace liveweight::plot {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Chart small_chart() {
  Chart chart;
  chart.title = "It's <b>bold & `date` $x\n_{low}";
  chart.subtitle = "of the day";
  chart.x_label = "scheme";
  chart.categories = {"int8", "fp8", "int4"};
  chart.panels = {
      {"Speed", "GB/s", 0, {{"ours", Mark::kBars, {1, 2, NAN}}, {"limit", Mark::kLine, {2, 3, 4}}}, "%.1f"},
      {"Time", "ms", 10, {{"", Mark::kBars, {5, 6, 7}}}, ""}};
  chart.notes = {{1.5, "here"}};
  return chart;
}

std::string contents(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

class ChartTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Each test has its own: the runner starts several at once.
  const std::filesystem::path directory_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("liveweight_chart_") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(ChartTest, a_file_that_ends_in_svg_is_one_with_texts_as_they_were_given) {
  const Status status = write_chart(small_chart(), directory_ / "chart.svg");
  ASSERT_TRUE(status) << status.error().message;
  const std::string svg = contents(directory_ / "chart.svg");
  EXPECT_THAT(svg, HasSubstr("<svg"));
  EXPECT_THAT(svg, HasSubstr("It's &lt;b>bold &amp; `date` $x _{low}"));
  EXPECT_THAT(svg, HasSubstr("</svg>"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1) << "a partial file stayed";
}

TEST_F(ChartTest, a_file_that_ends_in_png_is_one_and_replaces_what_was_there) {
  std::ofstream(directory_ / "chart.png") << "old";
  const Status status = write_chart(small_chart(), directory_ / "chart.png");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_THAT(contents(directory_ / "chart.png"), StartsWith("\x89PNG"));
}

TEST_F(ChartTest, a_file_that_cannot_be_written_is_told_before_it_is_drawn) {
  EXPECT_EQ(check_chart_file("chart.gif").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(check_chart_file("chart").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(check_chart_file(directory_ / "missing/chart.svg").error().code, ErrorCode::kIo);
  std::filesystem::create_directories(directory_ / "folder.svg");
  EXPECT_EQ(write_chart(small_chart(), directory_ / "folder.svg").error().code, ErrorCode::kIo);
  EXPECT_TRUE(check_chart_file(directory_ / "chart.svg"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "chart.svg"));
}

TEST_F(ChartTest, a_series_without_a_value_for_each_category_is_named) {
  Chart chart = small_chart();
  chart.panels[0].series[1].values.pop_back();
  const Status status = write_chart(chart, directory_ / "chart.svg");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("limit: expected a value for each of 3 categories, got 2"));
  EXPECT_FALSE(write_chart(Chart{}, directory_ / "chart.svg"));
}

TEST_F(ChartTest, without_gnuplot_the_error_says_what_to_install_and_the_old_file_stays) {
  std::ofstream(directory_ / "chart.svg") << "old";
  const std::string path = std::getenv("PATH");
  setenv("PATH", directory_.c_str(), 1);
  const Status status = write_chart(small_chart(), directory_ / "chart.svg");
  setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(status.error().message, HasSubstr("gnuplot-nox"));
  EXPECT_EQ(contents(directory_ / "chart.svg"), "old");
}

TEST_F(ChartTest, categories_may_have_per_cent_signs) {
  Chart chart = small_chart();
  chart.categories[1] = "0.1 % of it";
  const Status status = write_chart(chart, directory_ / "chart.svg");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_THAT(contents(directory_ / "chart.svg"), HasSubstr("0.1 % of it"));
}

TEST_F(ChartTest, no_text_can_leave_its_quotes) {
  Chart chart = small_chart();
  chart.title = "x'; system('touch /nowhere'); y='\n!touch /nowhere\nz";
  EXPECT_THAT(gnuplot_script(chart, "svg", "o.svg"),
              HasSubstr("'x''; system(''touch /nowhere''); y='' !touch /nowhere z'"));
}

}  // namespace
}  // namespace liveweight::plot
