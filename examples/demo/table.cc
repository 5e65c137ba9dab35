#include "demo/table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace liveweight::demo {
namespace {

constexpr size_t kDefaultWidth = 100;
constexpr const char* kFormat = "{:>3}  {:<22}{:>8}{:>8}{:>8}{:>10}{:>10}{:>9}{:>10}{:>8}";
constexpr const char* kIndent = "     ";

size_t width_of(FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

std::string line_of(const Row& row) {
  const Reloaded& reloaded = row.reloaded;
  const Answers& answers = row.answers;
  return fmt::format(kFormat, reloaded.version, row.checkpoint.name,
                     fmt::format("{:.2f}", reloaded.reload_ms), fmt::format("{:.2f}", reloaded.pause_us),
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
  put(fmt::format(kFormat, "ver", "checkpoint", "ms", "us", "cold", "error", "", "per s", "spanning",
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
  put(fmt::format("  -  bad update, {}: {}", bad.what, verdict), true);
  if (bad.refused) put_wrapped(bad.refused->error.message);
}

// Indented, and without the temporary folder's name.
void Table::put_wrapped(const std::string& message) {
  const size_t room = std::max<size_t>(width_of(out_), 40) - std::strlen(kIndent);
  for (std::string rest = message.substr(message.rfind('/') + 1); !rest.empty();) {
    size_t end = rest.size() <= room ? rest.size() : rest.rfind(' ', room);
    if (end == std::string::npos || end == 0) end = rest.size();
    put(kIndent + rest.substr(0, end), true);
    rest.erase(0, std::min(end + 1, rest.size()));
  }
}

void Table::put(const std::string& line, bool last) {
  if (!terminal_) {
    fmt::print(out_, "{}\n", line);
  } else if (last) {
    fmt::print(out_, "\r\033[K{}\n", line);
  } else {
    fmt::print(out_, "\r\033[K{}", line.substr(0, width_of(out_) - 1));
  }
  std::fflush(out_);
}

}  // namespace liveweight::demo
