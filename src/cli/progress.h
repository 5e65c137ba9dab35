// A bar on standard error for work that takes long; silent where that is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace liveweight::cli {

class Progress {
 public:
  Progress(std::string what, int64_t total);
  ~Progress();  // removes the bar
  void update(int64_t done);

 private:
  std::string what_;
  int64_t total_;
  bool visible_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace liveweight::cli
