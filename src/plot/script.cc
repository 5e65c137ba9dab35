#include "plot/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace liveweight::plot {
namespace {

constexpr int kWidth = 960, kPanelHeight = 240, kHead = 100, kNotes = 20, kFoot = 68, kGap = 52;
constexpr double kLeft = 0.08, kRight = 0.975, kBarsShare = 0.72;
// Twice as many pixels as the SVG has units, and all in them as much larger; png counts fonts in points.
constexpr const char* kFinePng = "fontscale 1.5 linewidth 2 pointscale 2";
constexpr std::array<const char*, 5> kColours = {"#1f6fb4", "#e07b39", "#3a9d5d", "#8a5fbf", "#7a7f87"};

// In gnuplot's single quotes nothing but the quote is special.
std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "'";
}

// Labels of tics are formats, in which a per cent sign stands for itself where it is doubled.
std::string tic_label(const std::string& text) {
  std::string doubled;
  for (const char c : text) doubled += c == '%' ? "%%" : std::string(1, c);
  return in_quotes(doubled);
}

double largest_of(const Panel& panel) {
  double largest = 0;
  for (const Series& series : panel.series) {
    for (const double value : series.values) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  return largest > 0 ? largest : 1;
}

// Where a panel lies, as gnuplot counts: shares of the picture from its bottom.
class Layout {
 public:
  explicit Layout(const Chart& chart)
      : head_(kHead + (chart.notes.empty() ? 0 : kNotes)), panels_(static_cast<int>(chart.panels.size())) {
    height_ = head_ + kFoot + panels_ * kPanelHeight + (panels_ - 1) * kGap;
  }

  int height() const { return height_; }
  double top(int panel) const { return 1 - share(head_ + panel * (kPanelHeight + kGap)); }
  double bottom(int panel) const { return top(panel) - share(kPanelHeight); }
  double share(int pixels) const { return static_cast<double>(pixels) / height_; }

 private:
  int head_;
  int panels_;
  int height_ = 0;
};

class Script {
 public:
  Script(const Chart& chart, const std::string& terminal, const std::string& output)
      : chart_(chart), layout_(chart) {
    line("set terminal {} noenhanced background '#ffffff' font 'sans-serif,13' {}", terminal,
         terminal == "svg" ? fmt::format("size {},{}", kWidth, layout_.height())
                           : fmt::format("size {},{} {}", 2 * kWidth, 2 * layout_.height(), kFinePng));
    line("set output {}", in_quotes(output));
    line("set encoding utf8\nset datafile missing 'NaN'");
    add_style();
    add_titles();
    for (size_t i = 0; i < chart.panels.size(); ++i) add_panel(static_cast<int>(i));
    line("unset multiplot\nset output");
  }

  std::string take() { return std::move(text_); }

 private:
  template <typename... Arguments>
  void line(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Arguments>(arguments)...);
    text_ += '\n';
  }

  void add_style() {
    line("set multiplot");
    line("set lmargin at screen {}\nset rmargin at screen {}", kLeft, kRight);
    line("set border 3 linecolor '#9aa0a6'\nset tics nomirror scale 0 textcolor '#3c4043'");
    line("set grid ytics linecolor '#e3e6ea' linetype 1 linewidth 1\nset style fill solid 0.85 noborder");
    line("set xrange [-0.6:{}]", static_cast<double>(chart_.categories.size()) - 0.4);
    line("set key horizontal noautotitle samplen 1.5 spacing 1 textcolor '#3c4043'");
  }

  void add_titles() {
    line("set label 100 {} at screen {},{} left font 'sans-serif,18' textcolor '#202124'",
         in_quotes(chart_.title), 0.025, 1 - layout_.share(26));
    line("set label 101 {} at screen {},{} left textcolor '#5f6368'", in_quotes(chart_.subtitle), 0.025,
         1 - layout_.share(50));
  }

  void add_panel(int index) {
    const Panel& panel = chart_.panels[index];
    const bool last = index + 1 == static_cast<int>(chart_.panels.size());
    const double y_top = panel.y_top > 0 ? panel.y_top : 1.15 * largest_of(panel);
    line("set tmargin at screen {}\nset bmargin at screen {}", layout_.top(index), layout_.bottom(index));
    line("set yrange [0:{}]\nset ylabel {} textcolor '#3c4043' ", y_top, in_quotes(panel.y_label));
    const int above = index == 0 && !chart_.notes.empty() ? kNotes : 0;
    const double title = layout_.top(index) + layout_.share(above + 16);
    line("set label 102 {} at graph 0, screen {} left font 'sans-serif,14' textcolor '#202124'",
         in_quotes(panel.title), title);
    line("set key at graph 1, screen {} right center", title);
    add_categories(last);
    add_notes(index == 0);
    add_data(panel);
    add_plot(panel, y_top);
    if (index == 0) line("unset label 100\nunset label 101");
  }

  // Under the last panel only; all have the ticks.
  void add_categories(bool shown) {
    text_ += "set xtics (";
    for (size_t i = 0; i < chart_.categories.size(); ++i) {
      text_ += fmt::format("{}{} {}", i ? ", " : "", tic_label(shown ? chart_.categories[i] : ""), i);
    }
    line(")\nset xlabel {} textcolor '#3c4043' offset 0,-0.3", in_quotes(shown ? chart_.x_label : ""));
  }

  // Their texts stand on the first panel.
  void add_notes(bool with_text) {
    for (size_t i = 0; i < chart_.notes.size(); ++i) {
      const Note& note = chart_.notes[i];
      line(
          "set arrow {0} from first {1}, graph 0 to first {1}, graph 1 nohead dashtype 2 linecolor '#c5221f'",
          i + 1, note.at);
      line("set label {} {} at first {}, screen {} center font 'sans-serif,12' textcolor '#c5221f'", i + 1,
           in_quotes(with_text ? note.text : ""), note.at, layout_.top(0) + layout_.share(10));
    }
  }

  // One row a category: its place, then the series.
  void add_data(const Panel& panel) {
    line("$data << end_of_data");
    for (size_t i = 0; i < chart_.categories.size(); ++i) {
      text_ += fmt::format("{}", i);
      for (const Series& series : panel.series) {
        text_ += std::isfinite(series.values[i]) ? fmt::format(" {}", series.values[i]) : " NaN";
      }
      text_ += '\n';
    }
    line("end_of_data");
  }

  void add_plot(const Panel& panel, double y_top) {
    const auto bars = std::count_if(panel.series.begin(), panel.series.end(),
                                    [](const Series& series) { return series.mark == Mark::kBars; });
    const double width = kBarsShare / static_cast<double>(std::max<std::ptrdiff_t>(bars, 1));
    std::ptrdiff_t bar = 0;
    text_ += "plot ";
    for (size_t i = 0; i < panel.series.size(); ++i) {
      const bool is_bar = panel.series[i].mark == Mark::kBars;
      const double shift =
          is_bar ? (static_cast<double>(bar++) - static_cast<double>(bars - 1) / 2) * width : 0;
      text_ += fmt::format("{}$data using ($1+({})):{}", i ? ", " : "", shift, i + 2);
      text_ += is_bar
                   ? fmt::format(":({}) with boxes linecolor '{}'", width * 0.94, kColours[i % 5])
                   : fmt::format(" with linespoints linewidth 2.5 pointtype 7 pointsize 0.7 linecolor '{}'",
                                 kColours[i % 5]);
      if (!panel.series[i].name.empty()) text_ += " title " + in_quotes(panel.series[i].name);
      if (!panel.value_format.empty()) {
        text_ += fmt::format(
            ", $data using ($1+({})):(${}+{}):(sprintf({}, ${})) with labels "
            "font 'sans-serif,11' textcolor '#3c4043'",
            shift, i + 2, 0.05 * y_top, in_quotes(panel.value_format), i + 2);
      }
    }
    text_ += '\n';
  }

  const Chart& chart_;
  const Layout layout_;
  std::string text_;
};

}  // namespace

std::string gnuplot_script(const Chart& chart, const std::string& terminal, const std::string& output) {
  return Script(chart, terminal, output).take();
}

}  // namespace liveweight::plot
