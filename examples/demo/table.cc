#include "demo/table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace liveweight::demo {
namespace {

constexpr size_t kDefaultWidth = 100;
constexpr const char* kFormat = "{:>7}  {:<22}{:>9}{:>9}  {:>9}{:>12}{:>10}{:>10}{:>9}{:>7}";

size_t width_of(FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

std::string line_of(const Row& row) {
  const Reloaded& reloaded = row.reloaded;
  const Answers& answers = row.answers;
  return fmt::format(kFormat, reloaded.version, row.checkpoint.name,
                     fmt::format("{:.2f}", reloaded.reload_ms), fmt::format("{:.1f}", reloaded.pause_us),
                     reloaded.warm_equals_cold() ? "yes" : "NO",
                     fmt::format("{:.2f} %", reloaded.quantization_percent),
                     answers.whole > 0 ? fmt::format("{:.1f} %", answers.accuracy() * 100) : "",
                     fmt::format("{:.0f}", row.tokens_per_second()), answers.spanning, row.failed);
}

}  // namespace

Table::Table(FILE* out) : out_(out), terminal_(isatty(fileno(out)) == 1) {}

void Table::begin(const std::string& scheme, int clients) {
  fmt::print(out_, "One process, {} clients, {}; each row is a version of the weights, taken in place.\n\n",
             clients, scheme);
  put(fmt::format(kFormat, "", "", "reload", "pause", "warm =", "quantiz.", "accuracy", "tokens", "requests",
                  ""),
      true);
  put(fmt::format(kFormat, "version", "checkpoint", "ms", "us", "cold", "error", "", "per s", "spanning",
                  "failed"),
      true);
}

void Table::refresh(const Row& row) {
  if (terminal_) put(line_of(row), false);
}

void Table::finish(const Row& row) {
  put(line_of(row), true);
}

void Table::add(const BadUpdate& bad) {
  const std::string verdict = !bad.refused                    ? "NOT REFUSED"
                              : !bad.refused->changed_nothing ? "refused, but SOMETHING CHANGED"
                                                              : "refused, nothing changed";
  put(fmt::format("{:>7}  bad update, {}: {}", "-", bad.what, verdict), true);
  if (!bad.refused) return;
  const std::string& message = bad.refused->error.message;
  put(fmt::format("{:>7}  {}", "", message.substr(message.rfind('/') + 1)), true);
}

void Table::put(const std::string& line, bool last) {
  if (terminal_) {
    fmt::print(out_, "\r\033[K{}{}", line.substr(0, width_of(out_) - (last ? 0 : 1)), last ? "\n" : "");
  } else {
    fmt::print(out_, "{}\n", line);
  }
  std::fflush(out_);
}

}  // namespace liveweight::demo
