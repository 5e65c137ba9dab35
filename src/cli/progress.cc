#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace liveweight::cli {
namespace {

constexpr int kWidth = 40;
constexpr std::chrono::milliseconds kInterval{100};

}  // namespace

Progress::Progress(std::string what, int64_t total)
    : what_(std::move(what)),
      total_(std::max<int64_t>(1, total)),
      visible_(isatty(STDERR_FILENO) == 1),
      next_(std::chrono::steady_clock::now() + kInterval) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(int64_t done) {
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || now < next_) return;
  next_ = now + kInterval;
  drawn_ = true;
  const auto filled = static_cast<int>(kWidth * std::min(done, total_) / total_);
  fmt::print(stderr, "\r{} [{:<{}}] {:3}%", what_, std::string(filled, '='), kWidth,
             100 * std::min(done, total_) / total_);
}

}  // namespace liveweight::cli
